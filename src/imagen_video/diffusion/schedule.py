"""How noisy is time t? The bounded continuous cosine schedule and its inverse.

    b = arctan(exp(-lambda_max / 2)),   a = arctan(exp(-lambda_min / 2)) - b
    lambda(t) = -2 log tan(a t + b),    lambda(0) = lambda_max,  lambda(1) = lambda_min
    alpha = sqrt(sigmoid(lambda)),      sigma = sqrt(sigmoid(-lambda)),   alpha^2 + sigma^2 = 1

Source: Salimans & Ho (2202.00512), the authors' code; Imagen Video (2210.02303) says
"continuous-time version of the cosine schedule". The bounds are -20 and 20, so both ends of time
stay finite: alpha(1) = sigma(0) = 4.5e-5. There is no per-resolution shift.
"""

from __future__ import annotations

import math

import torch

from imagen_video.tensor_types import AnyShape

LOGSNR_MIN = -20.0
LOGSNR_MAX = 20.0

# The bounds are symmetric, therefore a = pi/2 - 2b and lambda(1 - t) = -lambda(t).
_B = math.atan(math.exp(-LOGSNR_MAX / 2))
_A = math.pi / 2 - 2 * _B


def logsnr_from_t(t: AnyShape) -> AnyShape:
    """Log signal-to-noise ratio at time t, elementwise.

    Args:
        t: time in [0, 1], 1 = noise, any shape. Values outside (rounding) count as the nearest end.

    Returns:
        lambda(t) = -2 log tan(a t + b), in [-20, 20] and falling with t; dtype and device of `t`.
    """
    # tan loses all digits near pi/2, so the noisy half is computed as the mirror of the clean half.
    nearest_end = torch.minimum(t, 1 - t).clamp(min=0)
    magnitude = -2 * torch.log(torch.tan(_A * nearest_end + _B))
    magnitude = magnitude.clamp(min=0, max=LOGSNR_MAX)
    return torch.where(t <= 0.5, magnitude, -magnitude)


def t_from_logsnr(logsnr: AnyShape) -> AnyShape:
    """Time at which the schedule has this log signal-to-noise ratio, elementwise.

    Args:
        logsnr: lambda, any shape; values outside [-20, 20] are clamped to the bounds.

    Returns:
        t = (arctan(exp(-lambda / 2)) - b) / a, in [0, 1]; dtype and device of `logsnr`.
    """
    magnitude = logsnr.abs().clamp(max=LOGSNR_MAX)
    nearest_end = ((torch.atan(torch.exp(-magnitude / 2)) - _B) / _A).clamp(min=0, max=0.5)
    return torch.where(logsnr >= 0, nearest_end, 1 - nearest_end)


def alpha_sigma(logsnr: AnyShape) -> tuple[AnyShape, AnyShape]:
    """Signal and noise scales of a variance-preserving process.

    Args:
        logsnr: lambda, any shape.

    Returns:
        alpha = sqrt(sigmoid(lambda)) and sigma = sqrt(sigmoid(-lambda)), both of that shape. The
        sigmoids keep full relative precision at both ends, where 1 - alpha^2 would be zero.
    """
    return torch.sigmoid(logsnr).sqrt(), torch.sigmoid(-logsnr).sqrt()
