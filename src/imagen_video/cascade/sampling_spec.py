"""How a stage is sampled: sampler, steps, guidance, threshold, noise of the input (`SamplingSpec`).

A frozen value, written as JSON beside the weights.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

from imagen_video.errors import InputError

SamplerName = Literal["ancestral", "ddim", "few_step"]
GuidanceName = Literal["constant", "oscillating"]
ThresholdName = Literal["static", "dynamic"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingSpec:
    """How a stage is sampled unless the caller says otherwise."""

    sampler: SamplerName = "ancestral"
    """Ancestral for undistilled models (paper), ddim, or few_step for distilled ones."""
    steps: int = 256
    """Network evaluations, of twice the batch where guidance is on. Paper: 256 base, 128 SR."""
    gamma: float = 0.3
    """Log-interpolation between the ancestral variances. Assumption: VDM's 0.3."""
    guidance: GuidanceName = "constant"
    """The same weight at every step, or the paper's oscillation."""
    guidance_weight: float = 0.0
    """w of the constant schedule, and the high weight of the oscillation; 0 = off."""
    guidance_low: float = 1.0
    """The low weight of the oscillation."""
    guidance_stop: float = 0.0
    """The t at which guidance ends; 0 = in no step. Deviation (limited interval, 2404.07724): where
    little noise is left it adds contrast and no meaning, and costs a second pass."""
    threshold: ThresholdName = "dynamic"
    """Static clipping to [-1, 1], or Imagen's dynamic thresholding."""
    percentile: float = 99.5
    """Percentile of dynamic thresholding, in percent. Assumption: Imagen's value."""
    augmentation_logsnr: float = 3.0
    """Log SNR of the noise on the low-res input at sampling ("SNR of 3 or 5", read as log)."""
    temperature: float = 1.0
    """Scale of the sampler's noise; below 1 (a deviation) cleaner and less varied."""

    def __post_init__(self) -> None:
        """Refuse settings that no sampler takes."""
        for name, choices in (
            ("sampler", get_args(SamplerName)),
            ("guidance", get_args(GuidanceName)),
            ("threshold", get_args(ThresholdName)),
        ):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"SamplingSpec.{name}",
                    repr(getattr(self, name)),
                    f"one of {choices}",
                    "choose one",
                )
        for name in ("guidance_weight", "guidance_low", "augmentation_logsnr"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(
                    f"SamplingSpec.{name}",
                    f"{getattr(self, name)}",
                    "a finite number",
                    "correct it",
                )
        if not 1 < self.percentile <= 100:
            raise InputError(
                "SamplingSpec.percentile",
                f"{self.percentile}",
                "1 to 100, in percent",
                "correct it",
            )
        if not 1 <= self.steps <= 100_000:
            raise InputError("SamplingSpec.steps", f"{self.steps}", "1 to 100000", "correct it")
        for name in ("gamma", "temperature", "guidance_stop"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"SamplingSpec.{name}", f"{getattr(self, name)}", "0 to 1", "correct it"
                )

    @property
    def is_guided(self) -> bool:
        """Whether some step calls the network with and without the prompt."""
        low = self.guidance_low if self.guidance == "oscillating" else 0.0
        return self.guidance_weight != 0 or low != 0
