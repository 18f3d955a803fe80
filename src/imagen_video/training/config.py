"""How a training run proceeds: `TrainConfig`. What is trained is in the stage's spec, not here."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

from imagen_video.errors import InputError
from imagen_video.models.spec import checked_fields

Precision = Literal["fp32", "bf16"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of one run. Defaults suit the small stages of the `emoji` cascade on a CPU."""

    steps: int = 10_000
    """Optimiser updates in all, counted over resumes."""
    clips: int = 4
    """Clips in a batch of clips."""
    images: int = 32
    """Images in a batch of images."""
    image_fraction: float = 0.5
    """Share of the steps on independent images (joint image-video training); 1 = images only."""
    learning_rate: float = 4e-4
    """Peak of AdamW. Assumption: the paper gives none; small networks take more than 1e-4."""
    warmup_steps: int = 200
    """Updates of linear warm-up."""
    cooldown_fraction: float = 0.3
    """Last share of the steps over which the learning rate falls linearly to zero."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    gradient_clip: float = 1.0
    """Largest gradient norm."""
    ema_decay: float = 0.999
    """Decay of the averaged weights: min(this, (1 + n) / (10 + n)) at update n."""
    text_dropout: float = 0.1
    """Probability of training without text, for classifier-free guidance (Imagen: 10 %)."""
    precision: Precision = "fp32"
    """bf16 = autocast; weights, averages and optimiser stay fp32."""
    compile: bool = False
    """torch.compile the network: minutes of warm-up, then faster on some machines."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time, equal results."""
    seed: int = 0
    """Keys data order, noise, dropout and initial weights."""
    checkpoint_minutes: float = 5.0
    """Time between checkpoints."""
    keep_checkpoints: int = 2
    """How many checkpoints stay on disk."""
    sample_minutes: float = 10.0
    """Time between sample sheets; 0 = none."""
    log_every: int = 20
    """Updates between two lines of the log."""
    max_minutes: float | None = None
    """Stop after this long, with a checkpoint; the run can be resumed."""

    def __post_init__(self) -> None:
        """Refuse settings no run can have."""
        for name in ("steps", "clips", "images", "keep_checkpoints", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"TrainConfig.{name}", f"{getattr(self, name)}", "at least 1", "raise it"
                )
        for name in ("image_fraction", "cooldown_fraction", "text_dropout", "ema_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"TrainConfig.{name}", f"{getattr(self, name)}", "0 to 1", "correct it"
                )
        if not 0 < self.learning_rate < float("inf"):  # False for NaN too
            raise InputError(
                "TrainConfig.learning_rate",
                f"{self.learning_rate}",
                "a positive number",
                "raise it",
            )
        if self.precision not in get_args(Precision):
            raise InputError(
                "TrainConfig.precision",
                repr(self.precision),
                f"{get_args(Precision)}",
                "choose one",
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)

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
