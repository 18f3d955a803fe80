"""What the experiments with base stages have in common: train, sample, and four measures."""

from __future__ import annotations

from collections.abc import Sequence

import _measures as measures
from _frame import Row
from _training import Laboratory, Training
from torch import Tensor, nn

from imagen_video.corpus.scenes import Scene


def judged(lab: Laboratory, training: Training, network: nn.Module, name: str, clips: int) -> Row:
    """Sample a base on held-out scenes; return its distance, ground, change and loss."""
    scenes = lab.scenes(clips)
    real = lab.real(scenes, training.stage.output)
    made = lab.sample(training, network, scenes)
    lab.show(name, scenes, made)
    return {
        **clip_measures(made, real, scenes),
        "held-out v-error": lab.validation_loss(training, network, clips),
    }


def clip_measures(made: Tensor, real: Tensor, scenes: Sequence[Scene]) -> Row:
    """Compare made clips with real renders of the same scenes."""
    return {
        "frame distance": measures.frame_distance(
            measures.frame_features(real), measures.frame_features(made)
        ),
        "ground right": measures.ground_right(made, list(scenes)),
        "frame change / real": measures.change(made, real),
    }
