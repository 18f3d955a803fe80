"""From a batch to a loss: what `training.loop.train` is given to distil.

    stage one   v_tgt = (1 + w) v(z, c) - w v(z),  t ~ U[0, 1] continuous, w ~ U[min, max]
    stage two   v_tgt = two DDIM steps of the teacher, t on the student's grid (see `targets`)
    loss        weighted ||v_student(z, c, w) - v_tgt||^2

z = alpha x + sigma eps is what a sampler visits, in distribution, where it begins with full noise.
A stage that is sampled at a temperature T below 1 begins with T eps and never has x in its z but as
the network has guessed it, while alpha x + sigma T eps would show the truth at every t below 1.
Deviation: there z is the teacher's, sampling by DDIM from T eps at t = 1 down to t.

Conditions are drawn by the stage's own training objective, with the prompt always there, and are
one and the same for teacher and student: text, low-resolution video and its noise, given frames.
Source: Imagen Video (2210.02303), distillation; Meng et al. (2210.03142); Salimans & Ho
(2202.00512).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor, nn

from imagen_video.cascade.stage import make_threshold
from imagen_video.data.batches.batch import Batch
from imagen_video.diffusion.loss import stratified_times
from imagen_video.diffusion.parameterization import diffuse, v_from_x, v_target, x_from_v
from imagen_video.distillation.rounds import Round
from imagen_video.distillation.targets import (
    StepTimes,
    ddim_step,
    grid_index,
    logsnr_of,
    step_times,
    two_steps_in_one,
)
from imagen_video.distillation.teacher import Teacher
from imagen_video.models.conditions import Conditions
from imagen_video.training.draws import Draws
from imagen_video.training.objective import StageObjective

GUIDED_PATH_STEPS = 16
"""Most teacher steps to a z of the guided round below temperature 1: its times have no grid."""


class Target(NamedTuple):
    """What the student is asked, and what it should answer."""

    z: Tensor
    """Noisy video, `(b, f, c, h, w)`."""
    logsnr: Tensor
    """Its noise level, `(b,)`."""
    conditions: Conditions
    """With the guidance weight, where the student takes it."""
    v: Tensor
    """The teacher's answer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationObjective:
    """One round of one stage."""

    stage: StageObjective
    """Draws the conditions and reduces the error. Without text dropout: a student is always told
    the prompt, and the null text is the teacher's business."""
    teacher: Teacher
    """The network of the round before."""
    round: Round
    """What the student learns."""
    min_weight: float = 0.0
    """w is drawn from U[min_weight, max_weight]. Both 0: it is no input."""
    max_weight: float = 0.0

    def __call__(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch."""
        return self.loss(network, self.target(batch, generator))

    def loss(self, network: nn.Module, target: Target) -> Tensor:
        """Return the mean weighted error of the student's answer."""
        v_hat = network(target.z, target.logsnr, target.conditions)
        return self.stage.error(v_hat, target.v, target.logsnr, target.conditions)

    @torch.no_grad()
    def target(self, batch: Batch, generator: torch.Generator) -> Target:
        """Draw times, noise, weights and conditions, and ask the teacher."""
        device = self.stage.device
        draws = Draws(batch, generator)
        uniform = draws.of_rows("distillation times", stratified_times)
        weight = draws.of_rows("guidance weights", stratified_times)
        noise = draws.noise("distillation noise", tuple(batch.video.shape[1:])).to(device)
        # as it will be sampled: the student's steps begin where the sampler's do
        eps = noise * self.stage.stage.sampling.temperature
        conditions = self.stage.conditions(batch, generator).map(lambda tensor: tensor.to(device))
        x = batch.video.to(device)
        told: Tensor | None = None
        if self.max_weight > 0:
            span = self.max_weight - self.min_weight
            told = (self.min_weight + span * weight).to(device=device, dtype=x.dtype)
        logsnr, z, v = self._ask(x, eps, uniform.double(), conditions, told)
        return Target(z, logsnr, conditions.replace(guidance_weight=told), v)

    def _ask(
        self, x: Tensor, eps: Tensor, uniform: Tensor, conditions: Conditions, weight: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the noise level, z and the teacher's v."""
        if self.round.steps is None:
            logsnr = _level(uniform, x, conditions)
            z = self._z(uniform, x, eps, conditions, weight)
            return logsnr, z, self.teacher(z, logsnr, conditions, weight)
        times = step_times(
            self.round.stride, grid_index(uniform, self.round.steps), self.round.steps
        )
        logsnr = _level(times.start, x, conditions)
        z = self._z(times.start, x, eps, conditions, weight)
        return logsnr, z, self._two_steps(z, times, x, eps, conditions, weight)

    def _z(
        self, times: Tensor, x: Tensor, eps: Tensor, conditions: Conditions, weight: Tensor | None
    ) -> Tensor:
        """Return z at float64 times `(b,)` as sampling visits it; `eps` is scaled already."""
        sampling = self.stage.stage.sampling
        if sampling.temperature == 1:
            return diffuse(x, eps, _level(times, x, conditions))
        steps = self.round.teacher_steps or min(sampling.steps, GUIDED_PATH_STEPS)
        z = eps.clone()
        for step in range(steps):
            start = (steps - step) / steps
            rows = (times < start).nonzero().flatten()  # those that have not arrived
            if not len(rows):
                break
            end = times[rows].clamp(min=(steps - step - 1) / steps)
            ours = rows.to(z.device)
            z[ours] = self._sampled(
                z[ours],
                torch.full_like(end, start),
                end,
                x[ours],
                conditions.map(lambda tensor, ours=ours: tensor[ours]),
                None if weight is None else weight[ours],
            )
        return z

    def _sampled(
        self,
        z: Tensor,
        start: Tensor,
        end: Tensor,
        x: Tensor,
        conditions: Conditions,
        weight: Tensor | None,
    ) -> Tensor:
        """Take one step of sampling with the teacher: thresholded, given frames put in place."""
        logsnr = _level(start, z, conditions)
        x_hat = x_from_v(z, self.teacher(z, logsnr, conditions, weight), logsnr)
        x_hat = make_threshold(self.stage.stage.sampling).apply(_keep_given(x, x_hat, conditions))
        x_hat = _keep_given(x, x_hat, conditions)
        return ddim_step(z, v_from_x(z, x_hat, logsnr), start, end)

    def _two_steps(
        self,
        z: Tensor,
        times: StepTimes,
        x: Tensor,
        eps: Tensor,
        conditions: Conditions,
        weight: Tensor | None,
    ) -> Tensor:
        """Take two steps with the teacher. Nothing is thresholded, as in the authors' code."""

        def answer(z: Tensor, logsnr: Tensor) -> Tensor:
            v = self.teacher(z, logsnr, conditions, weight)
            return _keep_given(v_target(x, eps, logsnr), v, conditions)

        v1 = answer(z, _level(times.start, z, conditions))
        between = ddim_step(z, v1, times.start, times.middle)
        v2 = answer(between, _level(times.middle, z, conditions))
        return two_steps_in_one(z, v1, v2, times)


def _keep_given(given: Tensor, said: Tensor, conditions: Conditions) -> Tensor:
    """Keep given frames what they are, whatever the network says of them; as in sampling."""
    if conditions.given_mask is None:
        return said
    return torch.where(conditions.given_mask[:, :, None, None, None], given, said)


def _level(times: Tensor, video: Tensor, conditions: Conditions) -> Tensor:
    """Noise level of float64 times `(b,)`; `(b, f)` where rows may be packed images.

    Their low-resolution frames have noise levels of their own, and errors are weighted by both.
    """
    logsnr = logsnr_of(times, video)
    if conditions.is_image is None:
        return logsnr
    return logsnr[:, None].expand(-1, video.shape[1])
