"""What is due besides the next update. The main process looks at its clock, all of them hear it.

Each process has its own clock and its own signals. If one stopped to save while another went on to
the next step, both would wait for ever; so before every update the answers are added up.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from imagen_video.training.config import TrainConfig


class Due(NamedTuple):
    """What to do after an update."""

    log: bool
    validation: bool
    checkpoint: bool
    samples: bool
    stop: bool


class Alarms:
    """The main process's clock."""

    def __init__(self, config: TrainConfig, *, main: bool) -> None:
        """Start all alarms; those of other processes than the main one never ring."""
        self._config = config
        self._main = main
        self._started = self._saved = self._sampled = time.monotonic()

    def ring(self, *, stop_requested: bool) -> tuple[float, float, float]:
        """Return what this process wants after the coming update, as numbers to add up."""
        config = self._config
        late = config.max_minutes is not None and self._past(self._started, config.max_minutes)
        return (
            float(self._past(self._saved, config.checkpoint_minutes)),
            float(config.sample_minutes > 0 and self._past(self._sampled, config.sample_minutes)),
            float(stop_requested or late),
        )

    def due(self, step: int, checkpoint: float, samples: float, stop: float) -> Due:
        """Turn the sums over all processes into what to do after `step` updates."""
        every = self._config.validate_every
        return Due(
            log=step % self._config.log_every == 0,
            validation=every > 0 and step % every == 0,
            checkpoint=checkpoint > 0,
            samples=samples > 0,
            stop=stop > 0,
        )

    def saved(self) -> None:
        """Start anew after a checkpoint."""
        self._saved = time.monotonic()

    def sampled(self) -> None:
        """Start anew after samples."""
        self._sampled = time.monotonic()

    def _past(self, since: float, minutes: float) -> bool:
        return self._main and time.monotonic() - since > 60 * minutes
