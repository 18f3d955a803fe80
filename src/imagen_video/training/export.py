"""From run folders to a bundle: the averaged weights of the newest checkpoint of each stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.cascade.spec import CascadeSpec
from imagen_video.errors import DataError
from imagen_video.models.unet import VideoUNet
from imagen_video.training.checkpoint import newest_checkpoint


def export_bundle(
    spec: CascadeSpec,
    runs: Mapping[str, Path],
    out: Path,
    provenance: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a bundle of the stages that have a run; the others come without weights.

    Args:
        spec: the cascade.
        runs: stage name to run folder.
        out: where the bundle goes; an existing bundle is replaced.
        provenance: JSON values for the bundle; updates and settings of every stage are added.

    Raises:
        DataError: if a run has no whole checkpoint or was made for another spec.
    """
    networks: dict[str, VideoUNet] = {}
    training: dict[str, Any] = {}
    for stage, folder in runs.items():
        found = newest_checkpoint(folder)
        if found is None:
            raise DataError(
                str(folder), "no checkpoint", f"a run of stage {stage!r}", "train it first"
            )
        network = VideoUNet(spec.stage(stage).unet)
        try:
            network.load_state_dict(found.ema)
        except RuntimeError as error:
            raise DataError(
                str(folder),
                "weights of another network",
                f"those of stage {stage!r}",
                "use the run's own spec",
            ) from error
        networks[stage] = network
        training[stage] = {"updates": found.step, "config": found.meta.get("config")}
    return save_bundle(out, spec, networks, provenance={**(provenance or {}), "training": training})
