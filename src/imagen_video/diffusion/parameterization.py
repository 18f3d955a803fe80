"""What does a network output mean? Conversions between x, eps and v at one noise level.

    z   = alpha x + sigma eps                 the noisy video
    v   = alpha eps - sigma x                 (rotate (x, eps) by phi = arctan(sigma / alpha))

          | from v                | from x                    | from eps
    x     | alpha z - sigma v     |                           | (z - sigma eps) / alpha
    eps   | sigma z + alpha v     | (z - alpha x) / sigma     |
    v     |                       | (alpha z - x) / sigma     | (eps - sigma z) / alpha

Source: Salimans & Ho (2202.00512) section 4; Imagen Video (2210.02303), v-prediction. The divisors
are never below 4.5e-5 (schedule.py), so everything is finite; from v nothing is divided, which is
why networks output v. Nothing is clipped here: that is thresholding.py.

Every function takes `(z, prediction, logsnr)` with logsnr `(b,)` or `(b, f)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from torch import Tensor

from imagen_video.diffusion.schedule import alpha_sigma
from imagen_video.errors import InputError
from imagen_video.tensor_types import Denoiser, LogSNR, Video

Prediction: TypeAlias = Literal["x", "eps", "v"]
"""What a network was trained to output."""


def expand(values: Tensor, video: Tensor) -> Tensor:
    """View one value per example or per frame so that it broadcasts over a video.

    Args:
        values: shape `(b,)` or `(b, f)`.
        video: shape `(b, f, c, h, w)`.

    Returns:
        Shape `(b, 1, 1, 1, 1)` or `(b, f, 1, 1, 1)`, a view.

    Raises:
        InputError: if `values` is neither one per example nor one per frame.
    """
    if tuple(values.shape) not in (tuple(video.shape[:1]), tuple(video.shape[:2])):
        raise InputError(
            "logsnr",
            f"shape {tuple(values.shape)} for a video of shape {tuple(video.shape)}",
            f"{tuple(video.shape[:1])} (per example) or {tuple(video.shape[:2])} (per frame)",
            "expand it to one of the two",
        )
    return values.reshape(*values.shape, *([1] * (video.ndim - values.ndim)))


def _scales(logsnr: LogSNR, video: Video) -> tuple[Tensor, Tensor]:
    """Alpha and sigma, broadcastable over `video` and in its dtype, computed in logsnr's."""
    alpha, sigma = alpha_sigma(expand(logsnr, video))
    return alpha.to(video.dtype), sigma.to(video.dtype)


def diffuse(x: Video, eps: Video, logsnr: LogSNR) -> Video:
    """Noisy video z = alpha x + sigma eps, a draw of q(z_t | x) for standard normal eps.

    Args:
        x: clean video in [-1, 1].
        eps: standard normal noise of the same shape.
        logsnr: noise level per example or frame.

    Returns:
        z, unit variance where x has it.
    """
    alpha, sigma = _scales(logsnr, x)
    return alpha * x + sigma * eps


def v_target(x: Video, eps: Video, logsnr: LogSNR) -> Video:
    """Training target v = alpha eps - sigma x.

    Args:
        x: clean video.
        eps: the noise that `diffuse` added.
        logsnr: noise level per example or frame.

    Returns:
        v, shape of x.
    """
    alpha, sigma = _scales(logsnr, x)
    return alpha * eps - sigma * x


def x_from_v(z: Video, v: Video, logsnr: LogSNR) -> Video:
    """Clean video x = alpha z - sigma v. Not clipped."""
    alpha, sigma = _scales(logsnr, z)
    return alpha * z - sigma * v


def eps_from_v(z: Video, v: Video, logsnr: LogSNR) -> Video:
    """Noise eps = sigma z + alpha v."""
    alpha, sigma = _scales(logsnr, z)
    return sigma * z + alpha * v


def x_from_eps(z: Video, eps: Video, logsnr: LogSNR) -> Video:
    """Clean video x = (z - sigma eps) / alpha. Loses digits as t -> 1 (alpha -> 4.5e-5)."""
    alpha, sigma = _scales(logsnr, z)
    return (z - sigma * eps) / alpha


def v_from_eps(z: Video, eps: Video, logsnr: LogSNR) -> Video:
    """Velocity v = (eps - sigma z) / alpha. Loses digits as t -> 1."""
    alpha, sigma = _scales(logsnr, z)
    return (eps - sigma * z) / alpha


def eps_from_x(z: Video, x: Video, logsnr: LogSNR) -> Video:
    """Noise eps = (z - alpha x) / sigma. Loses digits as t -> 0 (sigma -> 4.5e-5)."""
    alpha, sigma = _scales(logsnr, z)
    return (z - alpha * x) / sigma


def v_from_x(z: Video, x: Video, logsnr: LogSNR) -> Video:
    """Velocity v = (alpha z - x) / sigma. Loses digits as t -> 0."""
    alpha, sigma = _scales(logsnr, z)
    return (alpha * z - x) / sigma


def _same(_z: Video, prediction: Video, _logsnr: LogSNR) -> Video:
    return prediction


Conversion: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]

CONVERSIONS: dict[tuple[Prediction, Prediction], Conversion] = {
    # (from, to)
    ("x", "x"): _same,
    ("x", "eps"): eps_from_x,
    ("x", "v"): v_from_x,
    ("eps", "x"): x_from_eps,
    ("eps", "eps"): _same,
    ("eps", "v"): v_from_eps,
    ("v", "x"): x_from_v,
    ("v", "eps"): eps_from_v,
    ("v", "v"): _same,
}


def denoiser_from(network: Callable[[Tensor, Tensor], Tensor], kind: Prediction) -> Denoiser:
    """Turn a network that outputs `kind` into a denoiser.

    Args:
        network: `(z, logsnr) -> prediction`.
        kind: what it predicts: "x", "eps" or "v".

    Returns:
        `(z, logsnr) -> x_hat`, what samplers call.

    Raises:
        InputError: for an unknown kind.
    """
    if (kind, "x") not in CONVERSIONS:
        raise InputError("prediction", repr(kind), "'x', 'eps' or 'v'", "name one of the three")
    to_x = CONVERSIONS[kind, "x"]

    def denoise(z: Tensor, logsnr: Tensor) -> Tensor:
        return to_x(z, network(z, logsnr), logsnr)

    return denoise


def denoiser_from_v(network: Callable[[Tensor, Tensor], Tensor]) -> Denoiser:
    """Turn a v-predicting network, as all stages are, into a denoiser `(z, logsnr) -> x_hat`."""
    return denoiser_from(network, "v")
