"""Draw the pictures of docs/concepts.md that need no weights: `python docs/figures_maths.py`.

Everything drawn is computed by the package: its schedule, conversions, samplers, guidance and
distillation targets. The data is a mixture of two bumps on a line, whose ideal denoiser is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from imagen_video.diffusion.guidance import OscillatingGuidance, guided_prediction
from imagen_video.diffusion.parameterization import v_from_x, x_from_v
from imagen_video.diffusion.samplers import DDIMSampler
from imagen_video.diffusion.schedule import alpha_sigma, logsnr_from_t
from imagen_video.distillation.targets import StepTimes, ddim_step, two_steps_in_one

IMAGES = Path(__file__).parent / "images"
Predict = Callable[[Tensor, Tensor], Tensor]
"""`(z, t) -> v`, with times in float64."""


def main() -> None:
    """Draw all."""
    schedule()
    guidance()
    distillation()


def schedule() -> None:
    """Draw the scales of picture and noise, and what an error of the network costs."""
    t = torch.linspace(0.001, 0.999, 400, dtype=torch.float64)
    alpha, sigma = alpha_sigma(logsnr_from_t(t))
    figure, (scales, level, errors) = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
    scales.plot(t, alpha, label=r"$\alpha$: share of the picture")
    scales.plot(t, sigma, label=r"$\sigma$: share of the noise")
    scales.set(title=r"$z = \alpha x + \sigma \epsilon$", xlabel="t")
    scales.legend(loc="center left", fontsize=8)
    level.plot(t, logsnr_from_t(t))
    level.set(title=r"log SNR: what networks are told", xlabel="t")
    errors.plot(t, sigma / alpha, label=r"network predicts $\epsilon$")
    errors.plot(t, sigma, label=r"network predicts $v$")
    errors.set(title="error in x from an error of 1", xlabel="t", yscale="log", ylim=(1e-3, 1e3))
    errors.legend(fontsize=8)
    _save(figure, "concept-schedule")


def guidance() -> None:
    """Draw what weights do to samples of known data, and the oscillating weight."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
    means = torch.tensor([-0.4, 0.4], dtype=torch.float64)
    for weight in (0.0, 1.0, 3.0, 8.0):
        samples = _guided_samples(means, spread=0.35, weight=weight)
        left.hist(
            samples,
            bins=120,
            range=(-1.0, 2.5),
            histtype="step",
            density=True,
            label=f"w = {weight:g}",
        )
    left.axvline(0.4, color="grey", lw=0.8)
    left.axvspan(1, 2.5, color="grey", alpha=0.12)
    left.set(
        title="samples of the right of two bumps, guided",
        xlabel="x (line: the true mean; grey: outside of [-1, 1])",
        yticks=[],
    )
    left.legend(fontsize=8)
    steps = 32
    rule = OscillatingGuidance(high=15.0, low=1.0)
    right.step(range(steps), [rule.weight(i, steps) for i in range(steps)], where="mid")
    right.axhline(15, color="grey", lw=0.8, ls=":")
    right.set(title="oscillating guidance, 32 steps", xlabel="step (0 = noisiest)", ylabel="w")
    _save(figure, "concept-guidance")


def _guided_samples(means: Tensor, spread: float, weight: float) -> Tensor:
    """Sample the second of two Gaussians, guided away from their mixture."""
    sampler, steps = DDIMSampler(), 64
    z = torch.randn(20_000, 1, 1, 1, 1, generator=torch.manual_seed(0), dtype=torch.float64)

    def predict(z: Tensor, logsnr: Tensor, conditional: Tensor) -> Tensor:
        alpha, sigma = (s.reshape(-1, 1, 1, 1, 1) for s in alpha_sigma(logsnr))
        total = alpha**2 * spread**2 + sigma**2
        each = [mean + alpha * spread**2 / total * (z - alpha * mean) for mean in means]
        scores = torch.stack([-((z - alpha * mean) ** 2) / (2 * total) for mean in means])
        mixed = (torch.softmax(scores, dim=0) * torch.stack(each)).sum(dim=0)
        return torch.where(conditional.reshape(-1, 1, 1, 1, 1), each[1], mixed)

    guided = guided_prediction(predict, weight)
    for step, t in enumerate(sampler.times(steps)):
        logsnr = logsnr_from_t(torch.full((len(z),), t, dtype=torch.float64))
        z = sampler.update(z, guided(z, logsnr), step, steps, torch.zeros_like(z))
    return z.flatten()


def distillation() -> None:
    """Draw paths from noise to data: many steps, few steps, and few steps of an ideal student."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained", sharey=True)
    start = torch.linspace(-1.6, 1.6, 9, dtype=torch.float64).reshape(-1, 1, 1, 1, 1)
    students: dict[int, Predict] = {128: _teacher}
    for steps in (64, 32, 16, 8, 4):
        students[steps] = _student(students[2 * steps], steps)
    for axis, predict, title in (
        (axes[0], _teacher, "the teacher, 4 DDIM steps"),
        (axes[1], students[4], "its student after five halvings, 4 steps"),
    ):
        true = _path(_teacher, start, 128)
        few = _path(predict, start, 4)
        for row in range(len(start)):
            axis.plot(true[0], true[1][:, row], color="C0", lw=0.9)
            axis.plot(few[0], few[1][:, row], "o-", color="C1", lw=0.9, ms=3.5)
        axis.plot([], [], color="C0", label="the teacher, 128 steps")
        axis.plot([], [], "o-", color="C1", ms=3.5, label=title)
        axis.set(xlabel="t (1 = noise)", xlim=(1.02, -0.02), ylim=(-2.6, 1.8))
        axis.legend(fontsize=8, loc="lower left")
        apart = float((few[1][-1] - true[1][-1]).abs().max())
        axis.set_title(f"ends at most {apart:.1g} from the teacher's 128 steps", fontsize=10)
    axes[0].set_ylabel("z")
    _save(figure, "concept-distillation")


def _teacher(z: Tensor, t: Tensor) -> Tensor:
    """Return the ideal v for two narrow bumps at -0.7 and 0.5."""
    logsnr = logsnr_from_t(t).expand(len(z))
    alpha, sigma = (s.reshape(-1, 1, 1, 1, 1) for s in alpha_sigma(logsnr))
    total = alpha**2 * 0.08**2 + sigma**2
    means = (-0.7, 0.5)
    scores = torch.stack([-((z - alpha * mean) ** 2) / (2 * total) for mean in means])
    each = torch.stack([mean + alpha * 0.08**2 / total * (z - alpha * mean) for mean in means])
    x_hat = (torch.softmax(scores, dim=0) * each).sum(dim=0)
    v = v_from_x(z, x_hat, logsnr)
    assert torch.allclose(x_from_v(z, v, logsnr), x_hat)
    return v


def _student(teacher: Predict, steps: int) -> Predict:
    """Return the network that progressive distillation is after: two of the teacher's steps."""

    def predict(z: Tensor, t: Tensor) -> Tensor:
        start = t.expand(len(z))
        times = StepTimes(start, start - 0.5 / steps, (start - 1.0 / steps).clamp(min=0))
        first = teacher(z, times.start)
        second = teacher(ddim_step(z, first, times.start, times.middle), times.middle)
        return two_steps_in_one(z, first, second, times)

    return predict


def _path(predict: Predict, z: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return times `(n + 1,)` and values `(n + 1, b)` of a deterministic path."""
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    values = [z.flatten()]
    for now, after in itertools.pairwise(times):
        z = ddim_step(z, predict(z, now), now.expand(len(z)), after.expand(len(z)))
        values.append(z.flatten())
    return times, torch.stack(values)


def _save(figure: plt.Figure, name: str) -> None:
    figure.savefig(IMAGES / f"{name}.png", dpi=90, pil_kwargs={"optimize": True})
    plt.close(figure)


if __name__ == "__main__":
    main()
