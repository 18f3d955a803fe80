"""The model card of a bundle: what is in it, what it was trained on, how good it is, its limits.

`README.md` in the bundle's folder: a YAML head that the Hugging Face Hub reads, then Markdown. What
the spec and the provenance tell is filled in; what only people know (`CardFacts`) is kept in
`cascade.json` under `provenance.card`, so that it travels with the weights. What nobody said is
called "not stated" and never guessed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

from imagen_video import __version__
from imagen_video.cascade.spec import CascadeSpec, StageSpec
from imagen_video.errors import InputError
from imagen_video.models.cost import num_parameters

CARD_FILE = "README.md"
LIBRARY = "imagen-video"
UNKNOWN_LICENCE = "unknown"
"""The hub's word for a licence that nobody stated."""
MAX_TEXT = 4000
"""Characters of one text: a card is a page, and provenance may come from anywhere."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CardMetric:
    """One measured number."""

    name: str
    """What was measured, e.g. `Frechet distance of EfficientNet features`."""
    value: float
    """The number."""
    data: str
    """On what, e.g. `200 held-out clips`."""
    stage: str = ""
    """Of which stage; empty for the cascade."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What cannot be read off the weights; texts are Markdown."""

    licence: str = UNKNOWN_LICENCE
    """Of the weights, as the hub names it: `apache-2.0`, `mit`, `cc-by-4.0`, `other`, ..."""
    summary: str = ""
    """What the cascade makes, in a sentence or two."""
    data: str = ""
    """What it was trained on, whose work that is and under which terms."""
    metrics: tuple[CardMetric, ...] = ()
    """What was measured."""
    limits: tuple[str, ...] = ()
    """What it cannot do and must not be used for."""

    def __post_init__(self) -> None:
        """Refuse a licence that the hub would refuse."""
        object.__setattr__(self, "metrics", tuple(self.metrics))
        object.__setattr__(self, "limits", tuple(self.limits))
        if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,63}", self.licence):
            raise InputError(
                "CardFacts.licence",
                repr(self.licence)[:80],
                "a licence as the hub names it: apache-2.0, mit, cc-by-4.0, other, unknown",
                "write it in lower case with hyphens",
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> CardFacts:
        """Read the facts that a bundle carries; what is not as it should be is left out.

        `provenance.note`, which `imagen-video export --note` writes, stands in for `data`.
        """
        told = provenance.get("card")
        told = told if isinstance(told, dict) else {}
        metrics = told.get("metrics")
        limits = told.get("limits")
        licence = _text(told.get("licence"))
        facts = cls(
            summary=_text(told.get("summary")),
            data=_text(told.get("data")) or _text(provenance.get("note")),
            metrics=tuple(m for m in map(_metric, _list(metrics)) if m is not None),
            limits=tuple(text for text in map(_text, _list(limits)) if text),
        )
        try:
            return dataclasses.replace(facts, licence=licence or UNKNOWN_LICENCE)
        except InputError:
            return facts


def model_card(
    spec: CascadeSpec,
    provenance: Mapping[str, Any],
    trained: Collection[str],
    repo_id: str | None = None,
    *,
    usage: str | None = None,
    library: str = LIBRARY,
) -> str:
    """Write the card of a bundle.

    Args:
        spec: the cascade.
        provenance: the bundle's: facts, notes, updates of each stage.
        trained: names of the stages that come with weights.
        repo_id: where it will be found on the hub; None = in a folder.
        usage: lines of Python that load and call it; those of our own pipeline if None.
        library: what the hub calls the library that loads it.

    Returns:
        Text of `README.md`: a YAML head between `---` lines, then Markdown.
    """
    facts = CardFacts.of(provenance)
    name = _line(spec.name)
    last = spec.stages[-1].output
    parts = [
        f"# {name}",
        facts.summary
        or f"A cascade of {len(spec.stages)} pixel-space video diffusion models, in the design of"
        f" [Imagen Video](https://arxiv.org/abs/2210.02303): {last} (frames x height x width)"
        f" at {last.fps:g} frames a second.",
        "## Stages",
        _stage_table(spec, provenance, trained),
        _text_encoder(spec),
        "## Use",
        f"```python\n{usage or _usage(spec, repo_id)}\n```",
        "## Data",
        facts.data or "Not stated.",
        "## Metrics",
        _metrics_table(facts),
        "## Limits",
        "\n".join(f"* {_line(limit)}" for limit in facts.limits) or "Not stated.",
        "Videos made with these weights are synthetic. Say so wherever you show them.",
        "## Licence",
        "Not stated: ask whoever trained the weights before you use them."
        if facts.licence == UNKNOWN_LICENCE
        else f"`{facts.licence}`, for the weights. The code that runs them has its own.",
        f"Written by imagen-video {__version__}. The files are JSON and safetensors: loading them"
        " runs no code from this folder.",
    ]
    return (
        f"---\n{_head(spec, facts, name, library)}\n---\n\n"
        + "\n\n".join(filter(None, parts))
        + "\n"
    )


def _head(spec: CascadeSpec, facts: CardFacts, name: str, library: str) -> str:
    """Write the YAML head with the hub's own writer, so that the hub can read it."""
    from huggingface_hub import EvalResult, ModelCardData

    hears_text = any(stage.unet.text_width for stage in spec.stages)
    task = "text-to-video" if hears_text else None
    results = [
        EvalResult(
            task_type=task or "video-generation",
            dataset_type="custom",
            dataset_name=_line(metric.data),
            metric_type=re.sub(r"[^a-z0-9]+", "-", metric.name.lower()).strip("-") or "metric",
            metric_name=_line(f"{metric.stage} {metric.name}".strip()),
            metric_value=metric.value,
        )
        for metric in facts.metrics
    ]
    data = ModelCardData(
        model_name=name,
        license=facts.licence,
        library_name=library,
        pipeline_tag=task,
        tags=[LIBRARY, "diffusion", "video", "cascade", "super-resolution"],
        eval_results=results or None,
    )
    return data.to_yaml()


def _stage_table(spec: CascadeSpec, provenance: Mapping[str, Any], trained: Collection[str]) -> str:
    kinds = {"base": "text to video", "tsr": "more frames", "ssr": "more pixels"}
    rows = [
        (
            stage.name,
            kinds[stage.kind] if stage.kind != "base" or stage.unet.text_width else "video",
            f"{stage.output} at {stage.output.fps:g} fps",
            f"{num_parameters(stage.unet) / 1e6:.2f} M",
            f"{stage.sampling.steps} ({stage.sampling.sampler})",
            _training(stage, provenance) if stage.name in trained else "no weights",
        )
        for stage in spec.stages
    ]
    return _table(("stage", "does", "makes", "parameters", "steps", "training"), rows)


def _training(stage: StageSpec, provenance: Mapping[str, Any]) -> str:
    """Say in a few words how a stage came about, as far as the bundle tells."""
    told = provenance.get("training")
    entry = told.get(stage.name) if isinstance(told, dict) else None
    updates = entry.get("updates") if isinstance(entry, dict) else None
    text = f"{updates:,} updates" if type(updates) is int else "not stated"
    return f"{text}, distilled" if stage.distilled is not None else text


def _text_encoder(spec: CascadeSpec) -> str:
    if spec.text_encoder is None:
        return ""
    named = _line(spec.text_encoder.get("encoder", "see text_encoder.json"))
    return f"Text encoder: `{named}`, frozen; its weights are not in this folder."


def _usage(spec: CascadeSpec, repo_id: str | None) -> str:
    hears_text = any(stage.unet.text_width for stage in spec.stages)
    call = 'pipe("what the video shall show", seed=1)' if hears_text else "pipe(seed=1)"
    home = '"path/to/this/folder")'
    if repo_id is not None:
        home = f'"{_line(repo_id)}")  # revision="..." pins a commit'
    return "\n".join(
        (
            "from imagen_video import ImagenVideoPipeline",
            "",
            f"pipe = ImagenVideoPipeline.from_pretrained({home}",
            f"video = {call}.frames[0]  # uint8, frames x height x width x 3",
        )
    )


def _metrics_table(facts: CardFacts) -> str:
    if not facts.metrics:
        return "Not stated."
    rows = [(m.stage or "all", m.name, f"{m.value:.4g}", m.data) for m in facts.metrics]
    return _table(("stage", "metric", "value", "on"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_line, line)) + " |" for line in lines)


def _line(value: object) -> str:
    """Make one line of anything, without what would break a table or the YAML head."""
    return " ".join(str(value).split()).replace("|", "\\|")[:300]


def _text(value: object) -> str:
    return value.strip()[:MAX_TEXT] if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return list(value)[:100] if isinstance(value, list | tuple) else []


def _metric(value: object) -> CardMetric | None:
    told = value if isinstance(value, dict) else {}
    number = told.get("value")
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or not _text(told.get("name"))
    ):
        return None
    return CardMetric(
        name=_line(told["name"]),
        value=float(number),
        data=_line(_text(told.get("data")) or "not stated"),
        stage=_line(_text(told.get("stage"))),
    )
