"""What a report compares, and how much of it. Settings alone: `--help` loads nothing else."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from imagen_video.errors import InputError

if TYPE_CHECKING:
    from imagen_video.cascade.spec import CascadeSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How the teachers are sampled, and the base guided."""

    base_steps: int = 256
    """Steps of the undistilled base (paper: 256)."""
    sr_steps: int = 128
    """Steps of the undistilled super-resolution stages (paper: 128)."""
    sampler: Literal["ancestral", "ddim"] = "ancestral"
    """Sampler of undistilled stages (paper: ancestral)."""
    constant_weight: float = 6.0
    """w of the base with constant guidance (paper: 6)."""
    oscillating_weights: tuple[float, float] | None = (15.0, 1.0)
    """High and low w of the base with oscillating guidance (paper: 15 and 1); None = constant
    guidance alone, half of the clips."""
    sr_weight: float | None = None
    """w of undistilled super-resolution stages; each stage's own if None. Paper: guided."""
    own_steps: bool = True
    """Also show the teachers as they ship."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """What is measured."""

    until: str = "ssr1"
    """Last stage of the many clips."""
    clips: int = 64
    """Clips of every cell through that stage, at least 2."""
    long_until: str = "tsr3"
    """Last stage of the few clips, not before `until`; the paper's table ends there as well."""
    long_clips: int = 8
    """Clips of every cell through that stage, the first of the many; 0 = none."""
    runs: int = 4
    """Over how many runs the clips are spread (paper: 4): each has every prompt, with new seeds."""
    names: int = 100
    """Subjects to tell apart."""
    renders: int = 10
    """Real renders of each, to fit the probe on."""
    real_clips: int = 128
    """Real renders that distances are measured to."""
    sheets: int = 4
    """Contact sheets."""
    seed: int = 0
    """Of the first clip; clip i has seed + i."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        for name, least in (("clips", 2), ("runs", 1), ("names", 2), ("renders", 1)):
            if getattr(self, name) < least:
                raise InputError(
                    f"ReportConfig.{name}", f"{getattr(self, name)}", f"at least {least}", "raise"
                )
        if self.clips % self.runs or not (self.long_clips == 0 or self.long_clips >= 2):
            raise InputError(
                "ReportConfig.clips, long_clips",
                f"{self.clips} over {self.runs} runs, {self.long_clips}",
                "a multiple of the runs, and 0 or at least 2",
                "correct them",
            )

    def check(self, spec: CascadeSpec) -> None:
        """Refuse stages that are not there, or in the wrong order.

        The clip through every stage is what the few clips take, and one call of each stage after
        them: a stage between the two depths would be in neither.

        Raises:
            InputError: naming both.
        """
        until, long_until = spec.index(self.until), spec.index(self.long_until)
        if self.long_clips and long_until < until:
            raise InputError(
                "ReportConfig.long_until",
                f"{self.long_until!r}",
                f"{self.until!r}, where the many clips end, or a later stage",
                "name a later stage with --long-until, or an earlier one with --until",
            )
