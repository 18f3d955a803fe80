"""What a run says: a console line, a JSONL log, TensorBoard, and Weights & Biases if asked to.

Only the main process says anything. Losses are those of the whole batch, speed is that of all
processes together, memory is the main process's.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from imagen_video.cascade.memory import peak_bytes, resident_bytes
from imagen_video.errors import MissingExtraError
from imagen_video.media.atomic import writing_error
from imagen_video.training.config import TrainConfig


class Telemetry:
    """Collects numbers and writes a line every few updates."""

    def __init__(self, run_dir: Path, config: TrainConfig, *, active: bool = True) -> None:
        """Open the logs; nothing is overwritten, a resumed run appends.

        Args:
            run_dir: the run's folder.
            config: how long the run is and how often it reports.
            active: False in processes other than the main one, which then say nothing.

        Raises:
            InputError: if the folder cannot be written to.
            MissingExtraError: if Weights & Biases is asked for and not installed.
        """
        self._config = config
        self._active = active
        self._log: Any = None
        self._board: Any = None
        self._wandb: Any = None
        if active:
            try:
                run_dir.mkdir(parents=True, exist_ok=True)
                self._wandb = _wandb(run_dir, config)
                self._log = (run_dir / "log.jsonl").open("a", encoding="utf-8")
            except OSError as error:
                raise writing_error(run_dir, error) from error
            self._board = _tensorboard(run_dir)
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._start_interval()

    def __enter__(self) -> Telemetry:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the logs."""
        for log in (self._log, self._board):
            if log is not None:
                log.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=0 if kind is None else 1)

    def update(
        self, *, examples: int, learning_rate: float, waited: float, **values: float
    ) -> None:
        """Take the numbers of an update.

        Args:
            examples: rows of the whole batch.
            learning_rate: of the update.
            waited: seconds until its batch was there.
            values: losses and the like, averaged until the next line.
        """
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._examples += examples
        self._steps += 1
        self._waited += waited
        self._learning_rate = learning_rate

    def line(self, step: int, extra: Mapping[str, float]) -> None:
        """Write out what was collected since the last line, and more."""
        seconds = max(1e-9, time.monotonic() - self._since)
        means = {name: self._sums[name] / self._counts[name] for name in self._sums}
        numbers = {
            **means,
            **extra,
            "learning_rate": self._learning_rate,
            "examples_per_second": self._examples / seconds,
            "seconds_per_step": seconds / max(1, self._steps),
            "waiting_for_data": self._waited / seconds,
            **_memory(),
        }
        self.numbers(step, numbers)
        if self._active:
            left = (self._config.steps - step) * seconds / max(1, self._steps)
            shown = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
            print(  # noqa: T201 - the console line is the product here
                f"step {step}/{self._config.steps}  {shown}  "
                f"{numbers['examples_per_second']:.2f}/s  "
                f"left {int(left // 3600)}:{int(left // 60) % 60:02d}:{int(left) % 60:02d}",
                flush=True,
            )
        self._sums, self._counts = {}, {}
        self._start_interval()

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write numbers to every log."""
        if not self._active:
            return
        line = {"step": step, **{name: _rounded(value) for name, value in numbers.items()}}
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(dict(numbers), step=step)

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Show a picture, uint8 `(h, w, 3)`."""
        if self._board is not None:
            self._board.add_image(name, picture, step, dataformats="HWC")
        if self._wandb is not None:
            self._wandb.log({name: self._wandb.Image(picture)}, step=step)

    def _start_interval(self) -> None:
        self._examples, self._steps, self._waited = 0, 0, 0.0
        self._since = time.monotonic()


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.8g}")


def _memory() -> dict[str, int]:
    values = {"rss_bytes": resident_bytes(), "peak_rss_bytes": peak_bytes()}
    if torch.cuda.is_available():
        values["cuda_bytes"] = torch.cuda.memory_allocated()
        values["peak_cuda_bytes"] = torch.cuda.max_memory_allocated()
    return values


def _tensorboard(run_dir: Path) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard.writer import SummaryWriter

    return SummaryWriter(str(run_dir / "tensorboard"))


def _wandb(run_dir: Path, config: TrainConfig) -> Any:
    """Go on with the run's own page; None if it is not asked for.

    Raises:
        MissingExtraError: if it is asked for and not installed.
    """
    if config.wandb is None:
        return None
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(
            "--wandb", "no wandb", "the extra `wandb`", 'pip install "imagen-video[wandb]"'
        ) from error
    name = str(run_dir.resolve())
    return wandb.init(
        project=config.wandb,
        id=hashlib.sha256(name.encode()).hexdigest()[:16],
        name=run_dir.name,
        dir=run_dir,
        resume="allow",
        config=config.to_json(),
    )
