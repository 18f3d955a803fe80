"""How the rounds of a distillation proceed: `DistillConfig`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, get_args

from imagen_video.errors import InputError
from imagen_video.training.config import OptimizerName, Precision, TrainConfig

if TYPE_CHECKING:
    from imagen_video.distillation.rounds import Round

DistillLoss = Literal["snr_trunc", "v"]

LONG_ROUND_STEPS = 2
"""Students of so few steps get twice the updates (Salimans & Ho: 100k instead of 50k)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Settings of every round. Defaults are those of Salimans & Ho where a CPU can follow them."""

    updates_per_round: int = 1000
    """Updates of a round; twice as many for students of 2 and 1 steps. The papers: 50,000."""
    clips: int = 4
    """Clips in a batch of clips."""
    images: int = 32
    """Images in a batch of images."""
    image_fraction: float = 0.0
    """Share of the updates on independent images. Students are made for clips: none by default."""
    accumulate: int = 1
    """Parts in which a batch is worked through: less memory, the same gradient."""
    optimizer: OptimizerName = "adamw"
    """As in training; Salimans & Ho: Adam."""
    learning_rate: float = 1e-4
    """At the start of a round, from where it falls linearly to 0 (Salimans & Ho)."""
    warmup_fraction: float = 0.05
    """Share of a round over which the learning rate rises, as Adam starts anew in each."""
    gradient_clip: float = 1.0
    """Largest gradient norm (Salimans & Ho: 1); inf = off."""
    ema_decay: float = 0.999
    """Decay of the averaged weights: min(this, (1 + n) / (10 + n)) at update n."""
    loss: DistillLoss = "snr_trunc"
    """Weight of the error: max(SNR, 1) on x (Salimans & Ho), or v; see `diffusion.loss`. The loss
    "eps" would give none at t = 1, where every sample starts."""
    precision: Precision = "fp32"
    """bf16 = autocast. Targets are combined in fp32 from the teacher's answers."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time, equal results."""
    seed: int = 0
    """Keys data order, noise, times and weights."""
    checkpoint_minutes: float = 5.0
    """Time between checkpoints."""
    sample_minutes: float = 10.0
    """Time between sample sheets, one at the end of a round included; 0 = none."""
    log_every: int = 20
    """Updates between two lines of the log."""

    def __post_init__(self) -> None:
        """Refuse settings no round can have."""
        if self.loss not in get_args(DistillLoss):
            raise InputError(
                "DistillConfig.loss", repr(self.loss), f"one of {get_args(DistillLoss)}", "choose"
            )
        if not 0 <= self.warmup_fraction < 1:
            raise InputError(
                "DistillConfig.warmup_fraction",
                f"{self.warmup_fraction}",
                "at least 0, less than 1",
                "correct it",
            )
        self._training(self.updates_per_round)  # refuses the rest

    def updates_of(self, round_: Round) -> int:
        """Return how many updates a round takes."""
        few = round_.steps is not None and round_.steps <= LONG_ROUND_STEPS
        return self.updates_per_round * (2 if few else 1)

    def training(self, round_: Round) -> TrainConfig:
        """Return the settings of a round for the training loop."""
        return self._training(self.updates_of(round_))

    def _training(self, updates: int) -> TrainConfig:
        return TrainConfig(
            steps=updates,
            clips=self.clips,
            images=self.images,
            image_fraction=self.image_fraction,
            accumulate=self.accumulate,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            warmup_steps=round(updates * self.warmup_fraction),
            cooldown_fraction=1.0,
            gradient_clip=self.gradient_clip,
            ema_decay=self.ema_decay,
            text_dropout=0.0,
            precision=self.precision,
            gradient_checkpointing=self.gradient_checkpointing,
            seed=self.seed,
            checkpoint_minutes=self.checkpoint_minutes,
            validate_every=0,
            sample_minutes=self.sample_minutes,
            log_every=self.log_every,
        )
