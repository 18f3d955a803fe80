"""Who is imitated, and who starts as a copy of it.

A teacher answers with the v that sampling would use. It is asked without gradients, and with and
without the prompt in one call. A student starts from the teacher's weights; where it takes the
guidance weight as a new input, that embedding's last layer is zero, so that it begins as the
teacher's conditional model.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn

from imagen_video.diffusion.guidance import guided_prediction
from imagen_video.models.conditions import Conditions
from imagen_video.models.spec import UNetSpec
from imagen_video.models.unet import VideoUNet
from imagen_video.tensor_types import LogSNR, PerExample, Video

Mode = Literal["conditional", "guided", "weighted"]

_NEW = "embedding.guidance_weight."
"""Where a student's only new weights are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """A frozen network and how it is asked."""

    network: nn.Module
    """In eval mode, on its device."""
    mode: Mode
    """conditional: as it is, for w = 0. guided: (1 + w) cond - w uncond, in one call of twice the
    batch. weighted: w is an input."""

    @classmethod
    def of(cls, network: nn.Module, mode: Mode) -> Teacher:
        """Freeze a network."""
        return cls(network=network.eval().requires_grad_(False), mode=mode)

    @torch.no_grad()
    def __call__(
        self, z: Video, logsnr: LogSNR, conditions: Conditions, weight: PerExample | None
    ) -> Video:
        """Predict v; what is subtracted is subtracted in z's dtype, float32 also under autocast."""
        if self.mode == "conditional":
            return self.network(z, logsnr, conditions).to(z.dtype)
        assert weight is not None
        if self.mode == "weighted":
            return self.network(z, logsnr, conditions.replace(guidance_weight=weight)).to(z.dtype)

        def predict(z: Tensor, logsnr: Tensor, conditional: Tensor) -> Tensor:
            return self.network(z, logsnr, conditions.twice().drop(~conditional)).to(z.dtype)

        return guided_prediction(predict, weight)(z, logsnr)


def student_of(teacher: nn.Module, spec: UNetSpec, seed: int) -> VideoUNet:
    """Build a student with the teacher's weights.

    Args:
        teacher: network of the same spec, or of one without the guidance weight as an input.
        spec: the student's.
        seed: of the new embedding's first layer; its last one is zero.

    Returns:
        A network on the CPU whose outputs are the teacher's, whatever w it is told.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = VideoUNet(spec)
    found = student.load_state_dict(teacher.state_dict(), strict=False)
    assert not found.unexpected_keys
    assert all(name.startswith(_NEW) for name in found.missing_keys)
    embedding = student.embedding.guidance_weight
    if found.missing_keys and embedding is not None:
        last = embedding.mlp[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return student
