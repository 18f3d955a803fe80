"""Muon: momentum made orthogonal, for the matrices of a network; AdamW for everything else.

    m <- 0.95 m + 0.05 g,    u = 0.95 m + 0.05 g
    W <- W - rate 0.2 sqrt(max(rows, columns)) orthogonal(u)

Every direction of a matrix then moves equally far, where AdamW follows the few that dominate its
gradient. Source: Jordan et al. 2024 (momentum, Newton-Schulz iteration and its coefficients); Liu
et al. 2025 (2502.16982) for the scale, which gives updates the size of AdamW's, so that both share
one learning rate. Evidence for this network: docs/lab-notes.md.

Several processes share the work: each turns some of the matrices and hands the result to the
others. Every process keeps the momentum of all, so that checkpoints are those of one.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from imagen_video.cascade.precision import fast_dtype
from imagen_video.training.processes import Processes
from imagen_video.training.sharding import held, local, whole

MOMENTUM = 0.95
SMALLEST_SIDE = 48
"""Matrices with a shorter side (input, output, tables of biases) are left to AdamW."""
COEFFICIENTS = (3.4445, -4.775, 2.0315)
ITERATIONS = 5


class Muon(torch.optim.AdamW):
    """Muon and AdamW in one optimiser; a convolution counts as a matrix (out, in * kernel)."""

    def __init__(
        self,
        network: nn.Module,
        lr: float,
        weight_decay: float = 0.0,
        processes: Processes | None = None,
    ) -> None:
        """Sort the network's parameters into matrices and others.

        Args:
            network: on its device, split or not.
            lr: learning rate.
            weight_decay: decoupled weight decay.
            processes: those that call `step` together, with equal gradients or parts of them.
        """
        matrices, others = [], []
        for parameter in network.parameters():
            (matrices if is_matrix(parameter) else others).append(parameter)
        # matrices of one size, turned at the same time, keep no process waiting
        matrices.sort(key=_work, reverse=True)
        super().__init__(
            [{"params": others, "orthogonal": False}, {"params": matrices, "orthogonal": True}],
            lr=lr,
            betas=(0.9, 0.99),
            weight_decay=weight_decay,
            fused=True,
        )
        self._processes = processes or Processes()

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
        ranks = self._processes.ranks
        for group in groups:
            if group["orthogonal"]:
                moved = [parameter for parameter in group["params"] if parameter.grad is not None]
                for first in range(0, len(moved), ranks):
                    self._turn(moved[first : first + ranks], group["lr"], group["weight_decay"])

    def _turn(self, parameters: list[Tensor], rate: float, decay: float) -> None:
        """Update at most as many matrices as there are processes; each turns one."""
        ours: Tensor | None = None
        for owner, parameter in enumerate(parameters):
            # a matrix that is split over processes is gathered by all; one of them turns it
            matrix = whole(self._direction(parameter)).flatten(1)
            if owner == self._processes.rank:
                ours = matrix
            del matrix
        if ours is not None:
            # not before all are gathered: everybody would wait for the one that turns its own
            ours = orthogonal(ours)
        for owner, parameter in enumerate(parameters):
            is_ours = owner == self._processes.rank
            update = ours if is_ours and ours is not None else _empty_matrix(parameter)
            self._processes.send_from(owner, update)
            scale = 0.2 * math.sqrt(max(update.shape))
            part = update.reshape(parameter.shape)[held(parameter)]
            local(parameter).mul_(1 - rate * decay).sub_(part, alpha=rate * scale)

    def _direction(self, parameter: Tensor) -> Tensor:
        """Add a gradient to the momentum; return Nesterov's look ahead."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(parameter)
        momentum = state["exp_avg"].lerp_(gradient, 1 - MOMENTUM)
        return torch.lerp(gradient, momentum, MOMENTUM)


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon updates a parameter: a matrix or convolution with no short side."""
    if parameter.ndim < 2:
        return False
    return min(_sides(parameter)) >= SMALLEST_SIDE


def _sides(parameter: Tensor) -> tuple[int, int]:
    return parameter.shape[0], math.prod(parameter.shape[1:])


def _work(parameter: Tensor) -> int:
    """Multiplications of an iteration, but for a factor."""
    return min(_sides(parameter)) * math.prod(parameter.shape)


def _empty_matrix(parameter: Tensor) -> Tensor:
    return torch.empty(_sides(parameter), dtype=parameter.dtype, device=parameter.device)


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
    return (x.T if tall else x).to(matrix.dtype).contiguous()
