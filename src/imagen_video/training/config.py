"""How a training run proceeds: `TrainConfig`. What is trained is in the stage's spec, not here.

`MadeInputsConfig`: what a super-resolution stage may be trained on besides.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, Literal, get_args

from imagen_video.errors import InputError
from imagen_video.models.spec import checked_fields

Precision = Literal["fp32", "bf16"]
OptimizerName = Literal["adamw", "muon", "adafactor"]
Parallel = Literal["ddp", "fsdp"]

_CHOICES: dict[str, Any] = {
    "precision": Precision,
    "optimizer": OptimizerName,
    "parallel": Parallel,
}

_SHARES = (
    "image_fraction",
    "packed_images",
    "cooldown_fraction",
    "text_dropout",
    "middle_times",
    "ema_decay",
)

HARMLESS = frozenset(
    (
        "accumulate",
        "change_optimizer",
        "checkpoint_minutes",
        "compile",
        "gradient_checkpointing",
        "keep_checkpoints",
        "log_every",
        "max_minutes",
        "parallel",
        "sample_minutes",
        "validate_every",
        "wandb",
    )
)
"""Settings that leave what is learned as it is, but for the order of sums."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of one run. Defaults suit the small stages of the `emoji` cascade on a CPU."""

    steps: int = 10_000
    """Optimiser updates in all, counted over resumes."""
    clips: int = 4
    """Clips in a batch of clips, over all processes."""
    images: int = 32
    """Images in a batch of images, over all processes."""
    image_fraction: float = 0.5
    """Share of the steps on independent images (joint image-video training); 1 = images only."""
    packed_images: float = 0.0
    """Share of the rows of a batch of clips that are images, packed into a clip (shards only)."""
    accumulate: int = 1
    """Parts in which a process works through its rows: less memory, the same gradient."""
    optimizer: OptimizerName = "adamw"
    """adamw (fused); muon: orthogonal momentum for matrices, adamw for the rest; or adafactor:
    statistics of rows and columns, little memory."""
    change_optimizer: bool = False
    """Go on with a run of another optimizer: what it knows of the old state is kept."""
    learning_rate: float = 4e-4
    """Its peak. Assumption: the paper gives none; small networks take more than 1e-4. Adafactor
    multiplies it by the size of each weight: 1e-2 to 1e-1 is usual."""
    warmup_steps: int = 200
    """Updates of linear warm-up; 0 = none."""
    cooldown_fraction: float = 0.3
    """Last share of the steps over which the learning rate falls linearly to zero."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    gradient_clip: float = 1.0
    """Largest gradient norm; inf = off."""
    ema_decay: float = 0.999
    """Decay of the averaged weights: min(this, (1 + n) / (10 + n)) at update n."""
    text_dropout: float = 0.1
    """Probability of training without text, class and vector, for guidance (Imagen: 10 %)."""
    middle_times: float = 0.0
    """Share of the noise levels gathered around `gather_at` (logit-normal); 0 = all evenly, as in
    the paper."""
    gather_at: float = 0.56
    """The t they are gathered around: 0.56, where the shapes of small frames are decided; where
    subjects go is decided above 0.9."""
    precision: Precision = "fp32"
    """bf16 = autocast; weights, averages and optimiser stay fp32."""
    parallel: Parallel = "ddp"
    """What each of several processes holds: a copy (ddp), or a part of every tensor (fsdp)."""
    compile: bool = False
    """torch.compile the blocks: minutes of warm-up, then faster on some machines."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time, equal results."""
    seed: int = 0
    """Keys data order, noise, dropout and initial weights."""
    validate_every: int = 500
    """Updates between two measurements of the loss on held-out clips; 0 = none."""
    checkpoint_minutes: float = 5.0
    """Time between checkpoints."""
    keep_checkpoints: int = 2
    """How many checkpoints stay on disk."""
    sample_minutes: float = 10.0
    """Time between sample sheets; 0 = none."""
    log_every: int = 20
    """Updates between two lines of the log."""
    wandb: str | None = None
    """Project to log to on Weights & Biases, besides TensorBoard."""
    max_minutes: float | None = None
    """Stop after this long, with a checkpoint; the run can be resumed."""

    def __post_init__(self) -> None:
        """Refuse settings no run can have."""
        for name in ("steps", "clips", "images", "accumulate", "keep_checkpoints", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"TrainConfig.{name}", f"{getattr(self, name)}", "at least 1", "raise it"
                )
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"TrainConfig.{name}", f"{getattr(self, name)}", "0 to 1", "correct it"
                )
        if not 0 < self.gather_at < 1:
            raise InputError(
                "TrainConfig.gather_at",
                f"{self.gather_at}",
                "between 0 and 1",
                "give a time t, such as 0.56",
            )
        if not 0 < self.learning_rate < float("inf"):  # False for NaN too
            raise InputError(
                "TrainConfig.learning_rate",
                f"{self.learning_rate}",
                "a positive number",
                "raise it",
            )
        self._check_update()
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                raise InputError(
                    f"TrainConfig.{name}",
                    repr(getattr(self, name)),
                    f"{get_args(choices)}",
                    "choose one",
                )

    def _check_update(self) -> None:
        """Refuse an update that trains nothing, or climbs; comparisons are False for NaN too."""
        if not self.gradient_clip > 0:
            raise InputError(
                "TrainConfig.gradient_clip",
                f"{self.gradient_clip}",
                "a largest norm above 0; inf = gradients as they are",
                "use inf to turn it off",
            )
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(
                "TrainConfig.weight_decay",
                f"{self.weight_decay}",
                "a number of at least 0",
                "use 0 for none",
            )
        if self.warmup_steps < 0:
            raise InputError(
                "TrainConfig.warmup_steps", f"{self.warmup_steps}", "at least 0", "use 0 for none"
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; JSON has no infinity, so no clipping is the largest number."""
        clip = min(self.gradient_clip, sys.float_info.max)
        return {**dataclasses.asdict(self), "gradient_clip": clip}

    @classmethod
    def from_json(cls, data: Any) -> TrainConfig:
        """Rebuild from JSON values.

        Raises:
            InputError: on unknown or mistyped keys.
        """
        return cls(**checked_fields(cls, data, "TrainConfig"))

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of update `step` (from 0): linear warm-up, constant, linear cool-down."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        cooldown = max(1, round(self.steps * self.cooldown_fraction))
        cool = min(1.0, max(0.0, (self.steps - step) / cooldown)) if self.cooldown_fraction else 1.0
        return self.learning_rate * min(warm, cool)

    def ema_decay_at(self, step: int) -> float:
        """Decay of the averaged weights at update `step`."""
        return min(self.ema_decay, (1 + step) / (10 + step))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MadeInputsConfig:
    """What is made."""

    stage: str
    """Super-resolution stage whose inputs these are: tsr1, ssr1, ..."""
    count: int = 400
    """Clips, rounded up to whole groups of `together`."""
    seed: int = 0
    """Of the list of scenes, and of all noise."""
    noise: tuple[float, float] = (0.3, 0.8)
    """The t from which the base goes on is drawn between these, the same for clips made together:
    above, a clip forgets its scene; below, the base changes nothing."""
    together: int = 4
    """Clips sampled at once."""

    def __post_init__(self) -> None:
        """Refuse counts and times that cannot be."""
        low, high = self.noise
        if self.count < 1 or self.together < 1:
            counts = f"{self.count}, {self.together}"
            raise InputError("count, together", counts, "at least 1", "raise it")
        if not 0 < low <= high <= 1:
            raise InputError("noise", f"{low} to {high}", "times t in (0, 1]", "correct it")
