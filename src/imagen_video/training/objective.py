"""From a batch to a loss: the training objective of one stage (paper, Eq. 2).

    z = alpha x + sigma eps,   v = alpha eps - sigma x
    loss = weighted ||network(z, lambda, c) - v||^2

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
from imagen_video.data.batch import Batch
from imagen_video.diffusion.augmentation import sample_augmentation_logsnr
from imagen_video.diffusion.loss import mean_loss, stratified_times, weighted_error
from imagen_video.diffusion.parameterization import diffuse, v_target
from imagen_video.diffusion.schedule import logsnr_from_t
from imagen_video.models.conditions import Conditions
from imagen_video.models.prior import LowResPrior
from imagen_video.text.base import TextEncoder

TEXT_PADDING = 16
"""Captions are padded to multiples of this, so that a compiled network meets few shapes."""


class Objective(Protocol):
    """`(network, batch, generator) -> scalar loss`; all randomness comes from the CPU generator."""

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
    """Frozen text encoder (cached); None for cascades without text."""
    text_dropout: float = 0.1
    """Probability of the null text, per clip."""
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    """Where the network is."""

    def __call__(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the mean weighted error of v."""
        v_hat, v, logsnr, conditions = self.predict(network, batch, generator)
        mask = None if conditions.given_mask is None else ~conditions.given_mask
        loss = weighted_error(self.stage.loss, v_hat, v, logsnr, mask)
        return mean_loss(loss * self._residual_weight(logsnr, conditions), mask)

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
        return prior.loss_weight().reshape(logsnr.shape)

    def predict(
        self, network: nn.Module, batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Conditions]:
        """Run the network on a noisy batch; return v_hat, v, log SNR and the conditions."""
        x = batch.video
        # drawn on the CPU in a fixed order: the same on every device
        times = stratified_times(x.shape[0], generator)
        eps = torch.randn(x.shape, generator=generator)
        conditions = self.conditions(batch, generator).map(self._move)
        x, eps, logsnr = self._move(x), self._move(eps), self._move(logsnr_from_t(times))
        v_hat = network(diffuse(x, eps, logsnr), logsnr, conditions)
        return v_hat, v_target(x, eps, logsnr), logsnr, conditions

    def conditions(self, batch: Batch, generator: torch.Generator) -> Conditions:
        """Draw the conditions of a batch, on the CPU."""
        x = batch.video
        conditions = Conditions()
        if self.encoder is not None and self.stage.unet.text_width is not None:
            text = self.encoder.encode(batch.captions)
            text = text.pad_to(-(-text.num_tokens // TEXT_PADDING) * TEXT_PADDING)
            dropped = torch.rand(len(text), generator=generator) < self.text_dropout
            conditions = Conditions(text_states=text.states.to(x.dtype), text_mask=text.mask).drop(
                dropped
            )
        if self.stage.unet.given_frames and x.shape[1] > 1:
            mask = draw_given_frames(x.shape[0], x.shape[1], generator)
            conditions = conditions.replace(given_frames=x, given_mask=mask)
        if self.source is not None:
            level = sample_augmentation_logsnr(
                x.shape[0], generator, high_t=self.stage.augmentation_max_t
            )
            noise = torch.randn(x.shape, generator=generator)
            low_res = low_res_of(x, self.source, self.stage.output)
            conditions = condition_on(
                conditions, low_res, noise, level, fill=self.stage.temporal_fill
            )
        return conditions

    @property
    def _move(self) -> Callable[[Tensor], Tensor]:
        return lambda tensor: tensor.to(self.device)
