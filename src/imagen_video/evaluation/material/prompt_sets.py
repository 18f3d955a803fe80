"""Prompt sets: versioned files of prompts with the facts that each must show.

A set is JSON lines. The first line says what it is (format, name, version, split, seed), each other
line is one prompt: the sentence, the kind of scene, its facts, and the scene's number, from which a
corpus renders the real video of it.

    development   combinations that training shows: for choosing settings
    held-out      combinations that training never shows: for results

Kinds come in a fixed pattern, so the first n prompts hold every kind for any n from 8 on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from imagen_video.corpus.compose import KINDS
from imagen_video.corpus.scenes import Scene, SceneSource, Split
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.errors import DataError, InputError

FORMAT = "imagen-video-prompts"
BUILT_IN = {"development": "development-v1.jsonl", "held-out": "held-out-v1.jsonl"}
"""Name -> file beside this module, in `prompts/`."""

PATTERN = ("subject", "word", "subject", "solid", "subject", "pair", "subject", "solid pair")
"""Kinds in the order of the prompts, over and over."""

MAX_BYTES = 16 * 2**20
MAX_PROMPTS = 100_000
MAX_WORDS = 2000
"""Limits against hostile files; characters of a prompt."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt and what a video of it must show."""

    number: int
    """Its place in the set, from 0."""
    prompt: str
    """The sentence."""
    kind: str
    """A key of `corpus.compose.KINDS`."""
    scene: int
    """Number of the scene among those of its kind."""
    subjects: tuple[str, ...]
    """As `Scene.subjects`."""
    ground: str
    """As `Scene.ground`."""
    motion: str
    """As `Scene.motion`."""
    style: str
    """As `Scene.style`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptSet:
    """A set of prompts."""

    name: str
    """What it is called."""
    version: int
    """Raised with every change of the prompts."""
    split: Split
    """Of the corpus."""
    seed: int
    """Of the scenes."""
    sha256: str
    """Of the file."""
    prompts: tuple[Prompt, ...]
    """In order."""

    @classmethod
    def load(cls, name: str) -> PromptSet:
        """Read a built-in set by its name, or a file.

        Raises:
            InputError: if there is no such set, it is empty, or not one.
        """
        if name in BUILT_IN:
            content = (
                files("imagen_video.evaluation.material")
                .joinpath("prompts", BUILT_IN[name])
                .read_bytes()
            )
            return _parsed(content, name)
        path = Path(name)
        try:
            if path.stat().st_size > MAX_BYTES:
                raise _bad(name, "a file over 16 MiB")
            return _parsed(path.read_bytes(), name)
        except OSError as error:
            raise InputError(
                "--prompts",
                f"{name!r} ({error.strerror})",
                f"{', '.join(BUILT_IN)}, or a file of prompts",
                "choose one of them or check the path",
            ) from error

    def first(self, count: int, kinds: Sequence[str] = ()) -> tuple[Prompt, ...]:
        """Return the first so many prompts.

        Args:
            count: how many.
            kinds: take only these kinds; all if empty.

        Raises:
            InputError: for an unknown kind, a count below 1, or more than there are.
        """
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown:
            raise InputError("--kinds", unknown[0], ", ".join(KINDS), "choose among them")
        chosen = [p for p in self.prompts if not kinds or p.kind in kinds]
        if not 1 <= count <= len(chosen):
            raise InputError(
                "--count", str(count), f"1 to {len(chosen)} (set {self.name})", "ask for fewer"
            )
        return tuple(chosen[:count])

    def scenes(self, store: SpriteStore, prompts: Sequence[Prompt]) -> list[Scene]:
        """Return the scenes of some prompts.

        Raises:
            DataError: if the corpus draws other scenes than the set was made from.
        """
        sources: dict[str, SceneSource] = {}
        scenes = []
        for prompt in prompts:
            if prompt.kind not in sources:
                sources[prompt.kind] = _source(store, self.seed, self.split, prompt.kind)
            scene = sources[prompt.kind].scene(prompt.scene)
            facts = (scene.subjects, scene.ground, scene.motion, scene.style)
            if facts != (prompt.subjects, prompt.ground, prompt.motion, prompt.style):
                raise DataError(
                    f"prompt {prompt.number} of {self.name}",
                    f"the corpus at {store.folder} shows {scene.caption!r} in its place",
                    f"{prompt.prompt!r}",
                    "build the corpus of this version: imagen-video corpus build",
                )
            scenes.append(scene)
        return scenes

    def reference_scenes(
        self, store: SpriteStore, prompts: Sequence[Prompt], count: int
    ) -> list[Scene]:
        """Return other scenes of the same split and mix of kinds, to be compared with.

        Args:
            store: the corpus.
            prompts: what is judged.
            count: how many scenes.
        """
        kinds = [prompts[i % len(prompts)].kind for i in range(count)]
        sources = {kind: _source(store, self.seed + 1, self.split, kind) for kind in set(kinds)}
        return [sources[kind].scene(index) for index, kind in enumerate(kinds)]


def _source(store: SpriteStore, seed: int, split: Split, kind: str) -> SceneSource:
    return SceneSource(store, seed=seed, split=split, kinds={kind: 1.0}, complete_captions=True)


def prompt_lines(
    store: SpriteStore, *, name: str, version: int, split: Split, seed: int, count: int
) -> str:
    """Write a prompt set: no two prompts show the same facts or say the same.

    Args:
        store: the corpus.
        name: of the set.
        version: of the set.
        split: of the scenes.
        seed: of the scenes.
        count: prompts.
    """
    head = {"format": FORMAT, "name": name, "version": version, "split": split, "seed": seed}
    lines = [json.dumps(head)]
    sources = {kind: _source(store, seed, split, kind) for kind in set(PATTERN)}
    following = dict.fromkeys(sources, 0)
    taken: set[Any] = set()
    while len(lines) <= count:
        kind = PATTERN[(len(lines) - 1) % len(PATTERN)]
        index = following[kind]
        following[kind] += 1
        scene = sources[kind].scene(index)
        facts = (scene.subjects, scene.ground, scene.motion, scene.style)
        if facts in taken or scene.caption in taken:
            continue
        taken |= {facts, scene.caption}
        row = {
            "prompt": scene.caption,
            "kind": kind,
            "scene": index,
            "subjects": scene.subjects,
            "ground": scene.ground,
            "motion": scene.motion,
            "style": scene.style,
        }
        lines.append(json.dumps(row))
    return "\n".join(lines) + "\n"


def _bad(name: str, got: str) -> InputError:
    return InputError(
        f"prompt set {name}",
        got,
        f"JSON lines of the format {FORMAT}",
        "use a built-in set, or write the file as docs/evaluation.md says",
    )


def _parsed(content: bytes, label: str) -> PromptSet:
    try:
        rows = [json.loads(line) for line in content.decode("utf-8").splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise _bad(label, f"{error}"[:120]) from error
    if not rows or not isinstance(rows[0], dict) or rows[0].get("format") != FORMAT:
        raise _bad(label, "no first line that says what it is")
    head = rows[0]
    split, seed, version = head.get("split"), head.get("seed"), head.get("version")
    if split not in ("train", "held_out", "all") or type(seed) is not int or seed < 0:
        raise _bad(label, f"split {split!r} and seed {seed!r}"[:120])
    if type(version) is not int or not isinstance(head.get("name"), str):
        raise _bad(label, "no name or version")
    if len(rows) == 1 or len(rows) > MAX_PROMPTS:
        raise _bad(label, f"{len(rows) - 1} prompts")
    prompts = tuple(_prompt(number, row, label) for number, row in enumerate(rows[1:]))
    if len({prompt.prompt for prompt in prompts}) < len(prompts):
        raise _bad(label, "a prompt twice")
    return PromptSet(
        name=head["name"],
        version=version,
        split=cast(Split, split),
        seed=seed,
        sha256=hashlib.sha256(content).hexdigest(),
        prompts=prompts,
    )


def _prompt(number: int, row: Any, label: str) -> Prompt:
    where = f"{label}, line {number + 2}"
    words = ("prompt", "kind", "ground", "motion", "style")
    if not isinstance(row, Mapping) or not all(isinstance(row.get(key), str) for key in words):
        raise _bad(where, f"{row!r}"[:120])
    subjects, scene = row.get("subjects"), row.get("scene")
    if not isinstance(subjects, list) or not all(isinstance(s, str) for s in subjects):
        raise _bad(where, f"subjects {subjects!r}"[:120])
    if type(scene) is not int or not 0 <= scene < 2**64 or row["kind"] not in KINDS:
        raise _bad(where, f"scene {scene!r} of kind {row['kind']!r}"[:120])
    if not row["prompt"].strip() or len(row["prompt"]) > MAX_WORDS:
        raise _bad(where, "an empty or endless prompt")
    return Prompt(
        number=number,
        scene=scene,
        subjects=tuple(subjects),
        **{key: row[key] for key in words},
    )
