"""Which ways to train a stage fit on the GPUs at hand, and which of those is the fastest.

Faster is, in this order: bf16 before fp32 (matrix units), no checkpointing before checkpointing (a
third less to compute), ddp before fsdp (less to send). Memory grows in a line with what a process
works through at once, so two measured steps tell the most that fit; what is chosen is measured too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from imagen_video.cascade.spec import CascadeSpec
from imagen_video.errors import InputError
from imagen_video.planning.memory import Choice, MemoryPlan, Sharding, predict
from imagen_video.training.config import OptimizerName, Precision

ENOUGH_ROWS = 8
"""Clips at once from which a GPU gains little by more. Assumption."""


ENOUGH_IMAGES = 16
"""Images for each clip of a clip step."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be trained on what; None leaves a choice open."""

    cascade: CascadeSpec
    stage: str
    gpus: int
    """Processes, one a GPU."""
    gpu_memory: int
    """Bytes of each."""
    batch: int | None = None
    """Clips of an update, over all GPUs."""
    sharding: Sharding | None = None
    checkpointing: bool | None = None
    precision: Precision | None = None
    optimizer: OptimizerName = "adamw"

    def __post_init__(self) -> None:
        """Refuse what no run can have.

        Raises:
            InputError: saying which.
        """
        self.cascade.stage(self.stage)
        if self.gpus < 1:
            raise InputError("--gpus", f"{self.gpus}", "at least 1", "raise it")
        if self.batch is not None and self.batch < self.gpus:
            raise InputError(
                "--batch",
                f"{self.batch} clips for {self.gpus} GPUs",
                "at least one clip a GPU",
                "raise --batch or lower --gpus",
            )
        if self.sharding is not None and (self.sharding == "none") != (self.gpus == 1):
            raise InputError(
                "--sharding",
                f"{self.sharding} with --gpus {self.gpus}",
                "none for one GPU, ddp or fsdp for several",
                "leave --sharding out to see what fits",
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """One way to train, and what it takes."""

    choice: Choice
    rows: int
    """Clips that a GPU works through at once."""
    accumulate: int
    """Such parts of an update."""
    most_rows: int
    """Most clips that fit on a GPU at once; 0 = none."""
    memory: MemoryPlan
    """Of `rows` clips."""
    fits: bool
    """Whether a step does."""
    sheets: bool
    """Whether sample sheets do: they are no reason to train otherwise, they can be left out."""

    @property
    def peak(self) -> int:
        """Bytes that a GPU takes at most."""
        return self.memory.peak if self.sheets else self.memory.step_peak

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **dataclasses.asdict(self.choice),
            "clips_per_gpu": self.rows,
            "accumulate": self.accumulate,
            "most_clips_per_gpu": self.most_rows,
            "fits": self.fits,
            "sample_sheets_fit": self.sheets,
            "memory": self.memory.to_json(),
        }


def options(wish: Wish) -> Iterator[Option]:
    """Yield every way that the wish leaves open, the fastest first."""
    for precision in (wish.precision,) if wish.precision else ("bf16", "fp32"):
        for checkpointing in (False, True) if wish.checkpointing is None else (wish.checkpointing,):
            for sharding in _shardings(wish):
                yield _option(
                    wish,
                    Choice(
                        sharding=sharding,
                        checkpointing=checkpointing,
                        precision=precision,
                        optimizer=wish.optimizer,
                    ),
                )


def fastest(found: Sequence[Option]) -> Option | None:
    """Return the first option that fits; None if none does."""
    return next((option for option in found if option.fits), None)


def clips_for(wish: Wish, option: Option) -> int:
    """Clips of an update, over all GPUs."""
    return wish.batch or option.rows * option.accumulate * wish.gpus


def images_for(wish: Wish, option: Option) -> int:
    """Images of an image step, over all GPUs: as many as frames, up to 16 a clip, if they fit."""
    stage = wish.cascade.stage(wish.stage)
    images = option.rows * min(ENOUGH_IMAGES, stage.train_frames or stage.output.frames)
    while images > 1:
        if _memory(wish, option.choice, images, images=True).step_peak <= wish.gpu_memory:
            break
        images //= 2
    return images * option.accumulate * wish.gpus


def _shardings(wish: Wish) -> tuple[Sharding, ...]:
    if wish.sharding is not None:
        return (wish.sharding,)
    return ("none",) if wish.gpus == 1 else ("ddp", "fsdp")


def _option(wish: Wish, choice: Choice) -> Option:
    one, many = (_memory(wish, choice, rows) for rows in (1, ENOUGH_ROWS))
    most = 0
    if one.step_peak <= wish.gpu_memory:
        line = (many.step_peak - one.step_peak) / (ENOUGH_ROWS - 1)
        most = 1 + int((wish.gpu_memory - one.step_peak) / max(1.0, line))
    rows, accumulate = _split(wish, most)
    memory = _memory(wish, choice, rows, accumulate=accumulate > 1)
    while memory.step_peak > wish.gpu_memory and 1 < rows <= most:  # the line was a little low
        most = rows - 1
        rows, accumulate = _split(wish, most)
        memory = _memory(wish, choice, rows, accumulate=accumulate > 1)
    return Option(
        choice=choice,
        rows=rows,
        accumulate=accumulate,
        most_rows=most,
        memory=memory,
        fits=memory.step_peak <= wish.gpu_memory,
        sheets=memory.sheet_peak <= wish.gpu_memory,
    )


def _split(wish: Wish, most: int) -> tuple[int, int]:
    """Divide a GPU's clips into equal parts of at most `most`; return their size and number."""
    if wish.batch is None:
        return max(1, min(most, ENOUGH_ROWS)), 1
    each = -(-wish.batch // wish.gpus)
    parts = -(-each // max(1, most))
    return -(-each // parts), parts


def _memory(
    wish: Wish, choice: Choice, rows: int, *, images: bool = False, accumulate: bool = False
) -> MemoryPlan:
    return predict(
        wish.cascade,
        wish.stage,
        choice,
        ranks=wish.gpus,
        rows=rows,
        images=images,
        accumulate=accumulate,
    )
