"""Muon: momentum made orthogonal, for the matrices of a network; AdamW for everything else.

    m <- 0.95 m + 0.05 g,    u = 0.95 m + 0.05 g
    W <- W - rate 0.2 sqrt(max(rows, columns)) orthogonal(u)

Every direction of a matrix then moves equally far, where AdamW follows the few that dominate its
gradient. Source: Jordan et al. 2024 (momentum, Newton-Schulz iteration and its coefficients); Liu
et al. 2025 (2502.16982) for the scale, which gives updates the size of AdamW's, so that both share
one learning rate. Evidence for this network: docs/lab-notes.md.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from imagen_video.cascade.precision import fast_dtype
from imagen_video.training.sharding import held, local, whole

MOMENTUM = 0.95
SMALLEST_SIDE = 48
"""Matrices with a shorter side (input, output, tables of biases) are left to AdamW."""
COEFFICIENTS = (3.4445, -4.775, 2.0315)
ITERATIONS = 5


class Muon(torch.optim.AdamW):
    """Muon and AdamW in one optimiser; a convolution counts as a matrix (out, in * kernel)."""

    def __init__(self, network: nn.Module, lr: float, weight_decay: float = 0.0) -> None:
        """Sort the network's parameters into matrices and others."""
        matrices, others = [], []
        for parameter in network.parameters():
            (matrices if is_matrix(parameter) else others).append(parameter)
        super().__init__(
            [{"params": others, "orthogonal": False}, {"params": matrices, "orthogonal": True}],
            lr=lr,
            betas=(0.9, 0.99),
            weight_decay=weight_decay,
            fused=True,
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update every parameter that has a gradient; a closure is not taken."""
        assert closure is None
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group["orthogonal"]]
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            for parameter in group["params"] if group["orthogonal"] else ():
                if parameter.grad is not None:
                    self._turn(parameter, group["lr"], group["weight_decay"])

    def _turn(self, parameter: Tensor, rate: float, decay: float) -> None:
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(parameter)
        momentum = state["exp_avg"].lerp_(gradient, 1 - MOMENTUM)
        # a matrix that is split over processes is turned as a whole by each, which keeps its part
        matrix = whole(torch.lerp(gradient, momentum, MOMENTUM)).flatten(1)
        update = orthogonal(matrix).reshape(parameter.shape)[held(parameter)]
        scale = 0.2 * math.sqrt(max(matrix.shape))
        local(parameter).mul_(1 - rate * decay).sub_(update, alpha=rate * scale)


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon updates a parameter: a matrix or convolution with no short side."""
    if parameter.ndim < 2:
        return False
    return min(parameter.shape[0], math.prod(parameter.shape[1:])) >= SMALLEST_SIDE


def orthogonal(matrix: Tensor) -> Tensor:
    """Bring all singular values of `(rows, columns)` near 1 (0.7 to 1.2).

    In bfloat16 where the hardware multiplies it, as published; where it is emulated that takes far
    longer than the rest of the training step, hence float32 there.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(fast_dtype(matrix.device))
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)
