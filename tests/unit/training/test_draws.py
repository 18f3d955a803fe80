"""What is drawn for a clip depends on the step and the clip's place, and on nothing else."""

from __future__ import annotations

import torch

from imagen_video.data.batches.batch import Batch
from imagen_video.training.draws import Draws, keyed_generator

WHOLE = Batch(video=torch.zeros(6, 2, 3, 2, 2))


def draws(batch: Batch, step: int = 0) -> Draws:
    return Draws(batch, keyed_generator(7, step))


def uniform(rows: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(rows, generator=generator)


def test_parts_of_a_batch_draw_what_the_whole_draws() -> None:
    whole = draws(WHOLE)
    parts = [draws(WHOLE.rows(rows)) for rows in (range(2), range(2, 3), range(3, 6))]
    numbers = torch.cat([part.of_rows("times", uniform) for part in parts])
    assert torch.equal(numbers, whole.of_rows("times", uniform))
    noise = torch.cat([part.noise("noise", (2, 3)) for part in parts])
    assert torch.equal(noise, whole.noise("noise", (2, 3)))


def test_what_was_drawn_before_changes_nothing() -> None:
    first, second = draws(WHOLE), draws(WHOLE)
    first.noise("something", (9,))
    first.of_rows("else", uniform)
    assert torch.equal(first.noise("noise", (4,)), second.noise("noise", (4,)))


def test_rows_purposes_and_steps_have_different_numbers() -> None:
    here = draws(WHOLE)
    seen = torch.cat(
        [here.noise("a", (1,)), here.noise("b", (1,)), draws(WHOLE, step=1).noise("a", (1,))]
    )
    assert len(set(seen.flatten().tolist())) == 18
