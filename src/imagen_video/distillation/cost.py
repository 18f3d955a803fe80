"""Calls, FLOPs and seconds: what a student saves.

FLOPs of a clip are counted (`models.cost`) for the whole clip without tiles. The step counts alone
imply the ratio of FLOPs where teacher and student have the same network:

    teacher passes / student passes      a step with guidance takes two, unless w is told

Stages that are too slow to sample many times are judged by one call: seconds of a call on a few
frames, times frames, times calls. The report says so.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch
from torch import nn

from imagen_video.distillation.comparison import Link
from imagen_video.models.conditions import Conditions
from imagen_video.models.cost import TEXT_TOKENS

CALL_FRAMES = 4
"""Frames of a timed call."""
REPEATS = 3
"""Timed calls, of which the fastest counts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saving:
    """A stage of the teacher beside that of the student."""

    stage: str
    calls: int
    """Network calls of the teacher for a clip."""
    passes: int
    """Rows of all of them."""
    student_calls: int
    student_passes: int
    flops: int
    """Of the teacher, a clip."""
    student_flops: int

    @property
    def implied(self) -> float:
        """FLOP ratio that the passes imply."""
        return self.passes / self.student_passes

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        counted = self.flops / self.student_flops
        return {**dataclasses.asdict(self), "implied": self.implied, "counted": counted}


def saving(teacher: Link, student: Link) -> Saving:
    """Compare two links of the same stage."""
    return Saving(
        stage=teacher.stage.name,
        calls=teacher.sampling.steps,
        passes=teacher.passes,
        student_calls=student.sampling.steps,
        student_passes=student.passes,
        flops=teacher.flops,
        student_flops=student.flops,
    )


@torch.no_grad()
def seconds_from_one_call(link: Link, network: nn.Module, *, bf16: bool) -> float:
    """Estimate the seconds that a stage takes for a clip, from one call on a few frames."""
    spec, clip = link.stage.unet, link.stage.output
    frames = min(CALL_FRAMES, clip.frames)
    device = next(network.parameters()).device
    rows = link.stage.rows_a_sample(link.sampling)
    shape = (rows, frames, spec.channels, clip.height, clip.width)
    conditions = Conditions()
    if spec.text_width is not None:
        conditions = conditions.replace(
            text_states=torch.zeros(rows, TEXT_TOKENS, spec.text_width),
            text_mask=torch.ones(rows, TEXT_TOKENS, dtype=torch.bool),
        )
    if spec.low_res:
        conditions = conditions.replace(
            low_res=torch.zeros(shape), low_res_logsnr=torch.zeros(rows)
        )
    if spec.guidance_weight:
        conditions = conditions.replace(guidance_weight=torch.zeros(rows))
    conditions = conditions.map(lambda tensor: tensor.to(device))
    z, logsnr = torch.zeros(shape, device=device), torch.zeros(rows, device=device)
    fastest = float("inf")
    for _ in range(REPEATS):
        started = time.monotonic()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            network(z, logsnr, conditions).sum().item()
        fastest = min(fastest, time.monotonic() - started)
    return fastest * clip.frames / frames * link.sampling.steps
