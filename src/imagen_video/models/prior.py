"""What the low-resolution video already says about the result, taken out of the network's job.

Deviation: the paper's super-resolution networks see z and output v. With `UNetSpec.residual_std`
set, the network sees and predicts the part that the upsampled video leaves open, at unit variance:

    x ~ N(m, s^2),  m = alpha' y,  s^2 = alpha'^2 std^2 + sigma'^2     y: augmented low-res video
    z = alpha x + sigma eps has variance D = sigma^2 + alpha^2 s^2 around alpha m

    input    (z - alpha m) / sqrt(D) = a xi + b eps      xi = (x - m) / s
    output   a eps - b xi                                a = alpha s / sqrt(D), b = sigma / sqrt(D)

That is v-prediction of the residual xi. It is the preconditioning of Karras et al. (2206.00364),
section 5, with the low-res video as the prior mean; m = 0 and s = 1 give plain v-prediction. A
network whose output is zero is the best linear estimate, so an untrained stage already upscales.
See docs/lab-notes.md for the effect.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class LowResPrior(NamedTuple):
    """A Gaussian guess of x from the low-res video, and the scales that follow from it."""

    mean: Tensor
    """m, `(b, f, c, h, w)`."""
    alpha: Tensor
    """Of z; this and the rest `(b, f or 1, 1, 1, 1)`."""
    sigma: Tensor
    s2: Tensor
    """Variance of x around m."""
    total: Tensor
    """D."""

    @classmethod
    def of(
        cls, low_res: Tensor, low_res_logsnr: Tensor | None, logsnr: Tensor, residual_std: float
    ) -> LowResPrior:
        """Build the guess.

        Args:
            low_res: upsampled, augmented low-res video y, `(b, f, c, h, w)`.
            low_res_logsnr: its noise level, `(b,)` or `(b, f)`; None = no noise.
            logsnr: noise level of z.
            residual_std: standard deviation of x minus the clean upsampled video.
        """
        alpha2, sigma2 = _squares(logsnr, low_res.dtype)
        alpha2_aug, sigma2_aug = torch.ones_like(alpha2), torch.zeros_like(alpha2)
        if low_res_logsnr is not None:
            alpha2_aug, sigma2_aug = _squares(low_res_logsnr, low_res.dtype)
        s2 = alpha2_aug * residual_std**2 + sigma2_aug
        return cls(
            mean=alpha2_aug.sqrt() * low_res,
            alpha=alpha2.sqrt(),
            sigma=sigma2.sqrt(),
            s2=s2,
            total=sigma2 + alpha2 * s2,
        )

    def input(self, z: Tensor) -> Tensor:
        """What z adds to the guess, at unit variance."""
        return (z - self.alpha * self.mean) / self.total.sqrt()

    def loss_weight(self) -> Tensor:
        """D / s^2, `(b, f or 1, 1, 1, 1)`: squared errors of v become those of the residual's v."""
        return self.total / self.s2

    def as_v(self, output: Tensor, z: Tensor) -> Tensor:
        """Turn the network's output into v of x.

        The posterior of x given z has mean (sigma^2 m + alpha s^2 z) / D and variance
        sigma^2 s^2 / D, so

            v = sigma (alpha (1 - s^2) z - m) / D + s / sqrt(D) * output
        """
        gain = self.sigma / self.total
        known = gain * (self.alpha * (1 - self.s2) * z - self.mean)
        return known + (self.s2 / self.total).sqrt() * output


def _squares(logsnr: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Variance-preserving alpha^2 and sigma^2, `(b, f or 1, 1, 1, 1)`."""
    per_frame = logsnr if logsnr.ndim == 2 else logsnr[:, None]
    values = per_frame[:, :, None, None, None].to(dtype)
    return values.sigmoid(), (-values).sigmoid()
