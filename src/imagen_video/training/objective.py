"""From a batch to a loss: the training objective of one stage (paper, Eq. 2).

    z = alpha x + sigma eps,   v = alpha eps - sigma x
    loss = mean over the rows of weighted ||network(z, lambda, c) - v||^2

The loop knows only the `Objective` protocol, so that distillation is another objective and not
another loop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from imagen_video.cascade.conditioning import condition_on, draw_given_frames, low_res_of
from imagen_video.cascade.spec import Clip, StageSpec
from imagen_video.data.batches.batch import Batch
from imagen_video.diffusion.augmentation import sample_augmentation_logsnr
from imagen_video.diffusion.loss import gather_times, stratified_times, weighted_error
from imagen_video.diffusion.parameterization import diffuse, v_target
from imagen_video.diffusion.schedule import logsnr_from_t
from imagen_video.models.conditions import Conditions
from imagen_video.models.prior import LowResPrior
from imagen_video.text.base import TextEncoder
from imagen_video.training.config import TrainConfig
from imagen_video.training.draws import Draws
from imagen_video.training.labels import drop_labels, label_conditions


class Objective(Protocol):
    """`(network, batch, generator) -> scalar loss`; all randomness comes from the CPU generator.

    The loss is a mean over rows, and what is drawn for a row depends on its place in the whole
    batch (`training.draws`): then any split of a batch gives the same sum of gradients.
    """

    def __call__(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageObjective:
    """Denoising with the stage's conditions."""

    stage: StageSpec
    """What is trained."""
    source: Clip | None
    """Shape of the stage's input; None for the base."""
    encoder: TextEncoder | None
    """Frozen text encoder (cached); None for cascades without text, or text encoded before."""
    text_dropout: float = 0.1
    """Probability of the null text, class and vector, per clip or packed image."""
    middle_times: float = 0.0
    """Share of the noise levels that are gathered (`diffusion.loss`)."""
    gather_at: float = TrainConfig.gather_at
    """The t they are gathered around."""
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    """Where the network is."""
    record: Callable[[Tensor, Tensor], None] | None = None
    """Told log SNR and loss of every row (or frame), for the loss per noise level."""

    def __call__(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the mean weighted error of v."""
        return self.error(*self.predict(network, batch, generator))

    def error(self, v_hat: Tensor, v: Tensor, logsnr: Tensor, conditions: Conditions) -> Tensor:
        """Reduce the error of a v-prediction to the loss; distillation's v is a teacher's."""
        return self.row_errors(v_hat, v, logsnr, conditions).mean()

    def row_errors(
        self, v_hat: Tensor, v: Tensor, logsnr: Tensor, conditions: Conditions
    ) -> Tensor:
        """Weighted error of every row, `(b,)`: rows count alike, however many frames are given."""
        mask = None if conditions.given_mask is None else ~conditions.given_mask
        loss = weighted_error(self.stage.loss, v_hat, v, logsnr, mask)
        loss = loss * self._residual_weight(logsnr, conditions)
        if self.record is not None:
            counted = slice(None) if mask is None or loss.ndim == 1 else mask
            self.record(logsnr[counted].detach(), loss[counted].detach())
        if loss.ndim == 1:
            return loss
        frames = loss.shape[1] if mask is None else mask.sum(dim=1).clamp(min=1)
        return loss.sum(dim=1) / frames

    def _residual_weight(self, logsnr: Tensor, conditions: Conditions) -> Tensor | float:
        """Weight errors as errors of the residual that the network predicts (`models.prior`).

        Deviation: without it the noise levels at which the low-res video leaves most to be drawn
        would hardly count: their v is nearly known, so its error is small whatever the network
        does.
        """
        std = self.stage.unet.residual_std
        if std is None or conditions.low_res is None:
            return 1.0
        prior = LowResPrior.of(conditions.low_res, conditions.low_res_logsnr, logsnr, std)
        weight = prior.loss_weight()[:, :, 0, 0, 0]
        return weight if logsnr.ndim == 2 else weight[:, 0]

    def predict(
        self,
        network: nn.Module,
        batch: Batch,
        generator: torch.Generator,
        times: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Conditions]:
        """Run the network on a noisy batch; return v_hat, v, log SNR and the conditions.

        Args:
            network: what predicts v.
            batch: clean videos and their labels.
            generator: all randomness.
            times: noise levels t `(b,)` instead of drawn ones, for validation.
        """
        draws = Draws(batch, generator)
        if times is None:
            times = self._times(batch, draws)
        elif packed_rows(batch) is not None:
            times = times[:, None].expand(-1, batch.video.shape[1])
        eps = draws.noise("noise", tuple(batch.video.shape[1:]))
        conditions = self._conditions(batch, draws).map(self._move)
        x, eps, logsnr = map(self._move, (batch.video, eps, logsnr_from_t(times)))
        v_hat = network(diffuse(x, eps, logsnr), logsnr, conditions)
        return v_hat, v_target(x, eps, logsnr), logsnr, conditions

    def conditions(self, batch: Batch, generator: torch.Generator) -> Conditions:
        """Draw the conditions of a batch, on the CPU."""
        return self._conditions(batch, Draws(batch, generator))

    def _times(self, batch: Batch, draws: Draws) -> Tensor:
        """Noise levels t, `(b,)`, or `(b, f)` where images are packed: each has its own."""
        times = self._gathered(draws.of_rows("times", stratified_times))
        packed = packed_rows(batch)
        if packed is None:
            return times
        frames = batch.video.shape[1]
        each = draws.of_rows("frame times", lambda n, g: stratified_times(n, g, frames=frames))
        return torch.where(packed[:, None], self._gathered(each), times[:, None])

    def _gathered(self, times: Tensor) -> Tensor:
        return gather_times(times, self.middle_times, self.gather_at)

    def _conditions(self, batch: Batch, draws: Draws) -> Conditions:
        x, packed = batch.video, packed_rows(batch)
        conditions = label_conditions(batch, self.stage, self.encoder)
        conditions = drop_labels(conditions, batch, packed, draws, self.text_dropout)
        if packed is not None:
            conditions = conditions.replace(is_image=packed)
        if self.stage.unet.given_frames and x.shape[1] > 1:
            mask = draws.of_rows("given frames", lambda n, g: draw_given_frames(n, x.shape[1], g))
            if packed is not None:  # images know nothing of one another
                mask = mask & ~packed[:, None]
            conditions = conditions.replace(given_frames=x, given_mask=mask)
        if self.source is not None:
            conditions = self._low_res(conditions, self.source, batch, packed, draws)
        return conditions

    def _low_res(
        self,
        conditions: Conditions,
        source: Clip,
        batch: Batch,
        packed: Tensor | None,
        draws: Draws,
    ) -> Conditions:
        """Add the low-resolution video, with noise of a random level."""
        x, high_t = batch.video, self.stage.augmentation_max_t
        level = draws.of_rows(
            "augmentation", lambda n, g: sample_augmentation_logsnr(n, g, high_t=high_t)
        )
        noise = draws.noise("augmentation noise", tuple(x.shape[1:]))
        fill, output = self.stage.temporal_fill, self.stage.output
        if packed is None:
            low_res = low_res_of(x, source, output) if batch.low_res is None else batch.low_res
            return condition_on(conditions, low_res, noise, level, fill=fill)
        batch_size, frames = x.shape[:2]
        each = draws.of_rows(
            "frame augmentation",
            lambda n, g: logsnr_from_t(stratified_times(n, g, frames=frames, high=high_t)),
        )
        level = torch.where(packed[:, None], each, level[:, None])
        # every packed image is its own low-res frame, in temporal stages too
        stills = low_res_of(x.flatten(0, 1)[:, None], source, output)
        stills = stills.reshape(batch_size, frames, *stills.shape[2:])
        images = condition_on(conditions, stills, noise, level)
        if source.frames == output.frames or packed.all():
            return images
        clips = condition_on(conditions, low_res_of(x, source, output), noise, level, fill=fill)
        assert images.low_res is not None
        assert clips.low_res is not None
        chosen = torch.where(packed[:, None, None, None, None], images.low_res, clips.low_res)
        return images.replace(low_res=chosen)

    @property
    def _move(self) -> Callable[[Tensor], Tensor]:
        return lambda tensor: tensor.to(self.device)


def packed_rows(batch: Batch) -> Tensor | None:
    """Which rows are images packed into a clip, `(b,)`; None if there are none."""
    if batch.is_image is None or batch.is_images or not batch.is_image.any():
        return None
    return batch.is_image
