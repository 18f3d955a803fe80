"""Do shards fit what is to be trained? Asked before the first step; errors name both sides."""

from __future__ import annotations

from pathlib import Path

from imagen_video.cascade.spec import CascadeSpec, StageSpec
from imagen_video.data.batches.epochs import Mixture
from imagen_video.data.shards.manifest import Manifest, StageEntry, TextEntry
from imagen_video.data.shards.text_store import check_encoder
from imagen_video.errors import DataError


def checked_stage(
    folder: Path, manifest: Manifest, cascade: CascadeSpec, stage: StageSpec, mixture: Mixture
) -> tuple[StageEntry, TextEntry | None]:
    """Return what a manifest says about a stage and its captions, if that fits.

    Args:
        folder: of the shards, for messages.
        manifest: what it holds.
        cascade: what is trained.
        stage: which stage of it.
        mixture: what batches are wanted.

    Returns:
        The stage, and the captions if the stage reads text and there are any.

    Raises:
        DataError: naming both sides.
    """
    entry = _with_geometry(folder, manifest, stage)
    _check_kinds(folder, entry, stage, mixture)
    reads_text = stage.unet.text_width is not None and entry.labels.captions > 0
    text = manifest.text if reads_text else None
    if text is not None:
        check_encoder(text, cascade.text_encoder or {}, str(folder))
    _check_labels(folder, manifest, entry, stage)
    return entry, text


def _with_geometry(folder: Path, manifest: Manifest, stage: StageSpec) -> StageEntry:
    entry = manifest.stages.get(stage.name)
    if entry is None:
        raise DataError(
            str(folder),
            f"shards for {', '.join(manifest.stages)}",
            f"shards for the stage {stage.name}",
            f"prepare the data with --stages {stage.name}",
        )
    output = stage.output
    wanted = (output.frames, output.height, output.width, output.fps, stage.unet.channels)
    found = (entry.frames, entry.height, entry.width, entry.fps, entry.channels)
    shown = "{}x{}x{} at {:g} fps, {} channels"
    if found != wanted:
        raise DataError(
            f"stage {stage.name!r} in {folder}",
            f"clips of {shown.format(*found)}, prepared for the cascade {manifest.cascade!r}",
            f"{shown.format(*wanted)}, as the cascade has them",
            "prepare the data again with this preset, or train the one it was prepared for",
        )
    length = stage.train_frames or output.frames
    if entry.min_frames < length:
        raise DataError(
            f"stage {stage.name!r} in {folder}",
            f"clips of as few as {entry.min_frames} frames",
            f"{length} frames, as the stage trains on",
            "prepare the data again with this preset",
        )
    return entry


def _check_labels(folder: Path, manifest: Manifest, entry: StageEntry, stage: StageSpec) -> None:
    unet, labels = stage.unet, entry.labels
    text = f"captions encoded with width {unet.text_width}"
    vectors = f"vectors of {unet.vector_width} numbers"
    classes = f"classes below {unet.num_classes}"
    width = manifest.text.width if manifest.text else None
    may_lack = manifest.options.get("keep_unlabelled") is True
    cases = (
        (unet.text_width, labels.captions, width == unet.text_width, text),
        (unet.num_classes, labels.classes, labels.most_class < (unet.num_classes or 0), classes),
        (unet.vector_width, labels.vectors, labels.vector_width == unet.vector_width, vectors),
    )
    for reads, count, fits, what in cases:
        if reads is None or (fits and count) or (may_lack and not count):
            continue
        raise DataError(
            f"the labels of stage {stage.name!r} in {folder}",
            f"{labels.captions} captions (width {width}), {labels.classes} classes (up to "
            f"{labels.most_class}), {labels.vectors} vectors (of {labels.vector_width} numbers)",
            what,
            "prepare the data again with this preset and these labels",
        )


def _check_kinds(folder: Path, entry: StageEntry, stage: StageSpec, mixture: Mixture) -> None:
    """Refuse a mixture with a part of which there is nothing; never give empty batches."""
    needs_clips = mixture.image_fraction < 1 and mixture.packed_images < 1
    missing = not entry.shards or (needs_clips and not entry.clips and stage.output.frames > 1)
    if missing:
        reasons = ", ".join(f"{reason} {count}" for reason, count in entry.left_out.items())
        raise DataError(
            f"stage {stage.name!r} in {folder}",
            f"{entry.clips} clips and {entry.images} images"
            + (f"; left out: {reasons}" if reasons else ""),
            "clips" if entry.images else "clips or images",
            "prepare clips that are long and large enough, or train on images alone "
            "(--image-fraction 1)",
        )
