"""What a run says: a console line, a JSONL log, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from imagen_video.cascade.memory import peak_bytes


class Telemetry:
    """Collects losses and writes a line every few updates."""

    def __init__(self, run_dir: Path, *, total_steps: int, log_every: int) -> None:
        """Open the logs; nothing is overwritten, a resumed run appends."""
        run_dir.mkdir(parents=True, exist_ok=True)
        self._log = (run_dir / "log.jsonl").open("a", encoding="utf-8")
        self._board: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(run_dir / "tensorboard"))
        self._total_steps = total_steps
        self._log_every = log_every
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._examples = 0
        self._since = time.monotonic()
        self._steps = 0

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
        self._log.close()
        if self._board is not None:
            self._board.close()

    def update(self, step: int, *, examples: int, learning_rate: float, **values: float) -> None:
        """Take the numbers of an update; write them out every `log_every` updates."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._examples += examples
        self._steps += 1
        if (step + 1) % self._log_every:
            return
        seconds = max(1e-9, time.monotonic() - self._since)
        means = {name: self._sums[name] / self._counts[name] for name in self._sums}
        line = {
            "step": step + 1,
            **{name: round(value, 6) for name, value in means.items()},
            "learning_rate": learning_rate,
            "examples_per_second": round(self._examples / seconds, 2),
            "peak_rss_bytes": peak_bytes(),
        }
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()
        left = (self._total_steps - step - 1) * seconds / self._steps
        shown = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        print(  # noqa: T201 - the console line is the product here
            f"step {step + 1}/{self._total_steps}  {shown}  {line['examples_per_second']}/s  "
            f"left {int(left // 3600)}:{int(left // 60) % 60:02d}:{int(left) % 60:02d}",
            flush=True,
        )
        if self._board is not None:
            for name, value in line.items():
                if name != "step":
                    self._board.add_scalar(name, value, step + 1)
        self._sums, self._counts, self._examples, self._steps = {}, {}, 0, 0
        self._since = time.monotonic()
