"""One video to make, as plain JSON values: what `generate` was asked for.

Also how `--resume` reads it back, and how the words of the command line become values: sizes of
memory, steps by stage, file names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagen_video.errors import InputError

if TYPE_CHECKING:
    from imagen_video.cascade.spec import StageSpec

MAX_SLUG = 60
MAX_MEMORY = 1 << 60
"""Most bytes that a size may name: far more than any machine has."""
_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}B": 1000**power for power, letter in enumerate("KMGT", start=1)}
_UNITS |= {f"{letter}IB": 1024**power for power, letter in enumerate("KMGT", start=1)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that determines one video, and nothing else."""

    prompt: str
    """The sentence; empty where a label says all."""
    seed: int
    """Of all noise."""
    bundle: str
    """Built-in name, folder or hub id."""
    bundle_sha256: str
    """Digest of the bundle."""
    precision: str
    """fp32 or bf16."""
    class_id: int | None = None
    """The class."""
    vector: list[float] | None = None
    """The numbers."""
    negative_prompt: str | None = None
    """What guidance pushes away from."""
    start_stage: str | None = None
    """First stage."""
    until: str | None = None
    """Last stage."""
    from_video: str | None = None
    """Input of the first stage."""
    from_video_sha256: str | None = None
    """Its digest."""
    image: str | None = None
    """First frame."""
    image_sha256: str | None = None
    """Its digest."""
    steps: dict[str, int] = dataclasses.field(default_factory=dict)
    """Steps by stage, where they are not the stage's own."""
    guidance_weight: float | None = None
    """w of the base, where it is not the stage's own."""
    num_frames: int | None = None
    """Frames of the output."""
    height: int | None = None
    """Pixels of the output."""
    width: int | None = None
    """Pixels of the output."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)

    @property
    def title(self) -> str:
        """What the video shall show, in words."""
        words = [self.prompt] if self.prompt else []
        words += [f"class {self.class_id}"] if self.class_id is not None else []
        if self.vector is not None:
            words.append("vector " + " ".join(f"{number:g}" for number in self.vector))
        return " ".join(words)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return what a request means that lacks a key, as JSON values."""
        bare = cls(prompt="", seed=0, bundle="", bundle_sha256="", precision="")
        optional = [
            field.name
            for field in dataclasses.fields(cls)
            if field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        ]
        return {name: getattr(bare, name) for name in optional}

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Read a `request.json`.

        Raises:
            InputError: if it cannot be read or is not one.
        """
        from imagen_video.models.spec import checked_fields

        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            values = checked_fields(cls, data, str(path), skip=("steps", "vector"))
            steps = values.get("steps", {})
            if not isinstance(steps, dict) or any(type(n) is not int for n in steps.values()):
                raise ValueError("steps are not numbers by stage")
            vector = values.get("vector")
            if vector is not None and not (
                isinstance(vector, list) and all(type(n) in (int, float) for n in vector)
            ):
                raise ValueError("the vector is not a list of numbers")
            return cls(**values)
        except InputError:
            raise
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise InputError(
                str(path),
                f"{error}"[:200],
                "the request of an interrupted run",
                "remove its folder",
            ) from error


def parse_memory(text: str, option: str = "--memory") -> int | None:
    """Turn `4GB`, `3.5GiB`, `900MB` or `none` into bytes; None is no bound.

    Args:
        text: as typed.
        option: as the user knows it.

    Raises:
        InputError: for anything else.
    """
    if text.strip().lower() == "none":
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None or not 1 <= float(found[1]) * unit <= MAX_MEMORY:
        raise InputError(
            option, repr(text)[:80], "a size such as 4GB, 900MB or 3.5GiB, or none", "correct it"
        )
    return int(float(found[1]) * unit)


def parse_steps(
    text: str | None,
    stages: Sequence[str],
    option: str = "--steps",
    chosen: Sequence[StageSpec] = (),
) -> dict[str, int]:
    """Turn `8` (all stages), `ssr3=4,base=32` or `8,ssr3=4` into steps by stage.

    Args:
        text: as typed; None leaves every stage its own.
        stages: names of the cascade's stages.
        option: as the user knows it.
        chosen: the stages that will run; a number for all stages passes those among them by that
            were distilled for another one.

    Raises:
        InputError: for an unknown stage, or what is not a number from 1 on.
    """
    everywhere: dict[str, int] = {}
    named: dict[str, int] = {}
    for part in (text or "").split(",") if text is not None else ():
        name, equals, number = (word.strip() for word in part.rpartition("="))
        if not re.fullmatch(r"[1-9]\d{0,4}", number):
            raise InputError(
                option, repr(part), "a number from 1 to 99999, or STAGE=NUMBER", "correct it"
            )
        if not equals:
            everywhere = dict.fromkeys(stages, int(number))
        elif name not in stages:
            raise InputError(
                option, f"stage {name!r}", f"one of {', '.join(stages)}", "choose one of them"
            )
        else:
            named[name] = int(number)
    if everywhere and chosen:
        from imagen_video.cascade.distilled import keeping_own_steps

        unnamed = [stage for stage in chosen if stage.name not in named]
        for name in keeping_own_steps(unnamed, next(iter(everywhere.values()))):
            del everywhere[name]
    return everywhere | named


def parse_vector(text: str) -> list[float]:
    """Turn `0.5` or `0.5,72` into numbers; `nan` is a vector of unknown numbers.

    Raises:
        InputError: for anything else.
    """
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = [math.inf]
    if any(map(math.isinf, numbers)):
        raise InputError(
            "--vector", repr(text), "finite numbers, such as 0.5 or 0.5,72", "correct it"
        )
    return numbers


def read_prompts(path: Path) -> list[str]:
    """Read a file with one prompt a line; empty lines and lines that begin with # are left out.

    Raises:
        InputError: if it cannot be read or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--prompts {path}", f"{error}", "a readable text file in UTF-8", "check the path"
        ) from error
    prompts = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not prompts:
        raise InputError(f"--prompts {path}", "no prompt", "one prompt a line", "write some")
    return prompts


def file_names(prompts: Sequence[str], seed: int) -> list[str]:
    """Name the files of some prompts, `<slug>-<seed>`, all different.

    Raises:
        InputError: if a prompt is there twice.
    """
    if len(set(prompts)) < len(prompts):
        twice = next(prompt for prompt in prompts if prompts.count(prompt) > 1)
        raise InputError(
            "prompts", f"{twice!r} twice", "different prompts", "leave one out, or change --seed"
        )
    slugs = [slug(prompt) for prompt in prompts]
    return [
        f"{name if slugs.count(name) == 1 else f'{name}-{_mark(prompt)}'}-{seed}"
        for name, prompt in zip(slugs, prompts, strict=True)
    ]


def slug(prompt: str) -> str:
    """Turn a prompt into a part of a file name: lower-case ASCII letters, digits and hyphens.

    Where that loses what the prompt says, a mark of the whole prompt is added, so that another
    prompt does not get the same name: its video would replace this one.
    """
    folded = unicodedata.normalize("NFKD", prompt)
    plain = folded.encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if words and len(words) <= MAX_SLUG and not _loses(folded, plain):
        return words
    return "-".join(part for part in (words[:MAX_SLUG].rstrip("-"), _mark(prompt)) if part)


def _loses(folded: str, plain: str) -> bool:
    """Whether letters, digits or symbols of a prompt are not in ASCII, or a sign is dropped.

    Accents and punctuation are dropped without a mark: names shall read like the prompt.
    """
    lost = any(ord(one) > 127 and unicodedata.category(one)[0] in "LNS" for one in folded)
    # not the hyphen of top-10; 1e-05 and 1e+05 differ in their sign alone
    signed = re.search(r"(?<![a-z0-9])-\.?\d|\+\.?\d|\de-\d", plain)
    return lost or signed is not None


def _mark(prompt: str) -> str:
    """Tell prompts apart whose slugs are the same, were cut, or lost something."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:6]
