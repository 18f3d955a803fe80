"""The random numbers of a training step, the same however its batch is split.

Every number is keyed by the step's generator, its purpose and, where there are many, by the row of
the whole batch. So neither the number of processes, nor gradient accumulation, nor whether some
other condition was drawn before changes what a clip is trained on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from imagen_video.data.batches.batch import Batch


class Draws:
    """Random numbers for the rows of a batch."""

    def __init__(self, batch: Batch, generator: torch.Generator) -> None:
        """Take one number from the step's CPU generator, which keys all others."""
        self._key = int(torch.randint(1 << 62, (), generator=generator))
        self._rows = range(batch.offset, batch.offset + len(batch))
        self._whole = batch.whole

    def of_rows(self, purpose: str, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        """Draw for the whole batch and keep our rows; for few numbers that belong together.

        Args:
            purpose: names the numbers; another name gives others.
            draw: from the number of rows and a generator to a tensor with that many rows.
        """
        drawn = draw(self._whole, self._generator(purpose))
        return drawn[self._rows.start : self._rows.stop]

    def noise(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Draw standard normal numbers `(b, *shape)`, our rows only."""
        return torch.stack(
            [torch.randn(shape, generator=self._generator(purpose, row)) for row in self._rows]
        )

    def _generator(self, purpose: str, row: int = 0) -> torch.Generator:
        return keyed_generator(self._key, zlib.crc32(purpose.encode()), row)


def keyed_generator(*key: int) -> torch.Generator:
    """Return a CPU generator that depends on the numbers of the key alone."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)
