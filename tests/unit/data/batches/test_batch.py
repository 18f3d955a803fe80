"""A batch says what its rows are and where they lie; any split of it puts together the whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.data.batches.batch import Batch, rows_of_rank, shard_source
from imagen_video.errors import DataError, InputError
from imagen_video.text.base import TextEmbedding


def batch(rows: int = 5, frames: int = 4) -> Batch:
    return Batch(
        video=torch.arange(rows).float()[:, None, None, None, None].expand(rows, frames, 3, 2, 2),
        captions=tuple(f"clip {row}" for row in range(rows)),
        text=TextEmbedding.from_rows([torch.full((2, 3), float(row)) for row in range(rows)]),
        class_id=torch.arange(rows),
        vector=torch.arange(2 * rows).reshape(rows, 2).float(),
        is_image=torch.arange(rows) % 2 == 0,
        frame_rate=torch.arange(rows).float(),
        low_res=torch.arange(rows).float()[:, None, None, None, None].expand(rows, 2, 3, 1, 1),
    )


@dataclasses.dataclass(frozen=True)
class Whole:
    rows: int = 5

    def batch(self, step: int) -> Batch:
        return batch(self.rows)


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_rows_of_all_processes_are_the_whole_batch_in_order(rows: int, ranks: int) -> None:
    if rows < ranks:
        with pytest.raises(InputError, match="at least one row"):
            rows_of_rank(rows, 0, ranks)
        return
    parts = [rows_of_rank(rows, rank, ranks) for rank in range(ranks)]
    assert [row for part in parts for row in part] == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_cut_keeps_every_label_with_its_clip_and_knows_its_place() -> None:
    cut = batch().rows(range(1, 4)).rows(range(1, 3))
    assert (cut.offset, cut.whole, len(cut)) == (2, 5, 2)
    assert cut.captions == ("clip 2", "clip 3")
    assert cut.video[:, 0, 0, 0, 0].tolist() == [2, 3]
    assert cut.text is not None
    assert cut.text.states[:, 0, 0].tolist() == [2, 3]
    for name, wanted in (("class_id", [2, 3]), ("frame_rate", [2, 3]), ("is_image", [True, False])):
        assert getattr(cut, name).tolist() == wanted
    assert cut.low_res is not None
    assert cut.low_res[:, 0, 0, 0, 0].tolist() == [2, 3]
    assert cut.vector is not None
    assert cut.vector.tolist() == [[4, 5], [6, 7]]


def test_a_source_that_cannot_be_split_is_cut() -> None:
    parts = [shard_source(Whole(), rank, 2).batch(0) for rank in (0, 1)]
    assert [len(part) for part in parts] == [2, 3]
    assert [part.offset for part in parts] == [0, 2]
    assert sum((part.captions for part in parts), ()) == batch().captions


def test_one_process_gets_the_source_itself() -> None:
    source = Whole()
    assert shard_source(source, 0, 1) is source


@pytest.mark.parametrize("shape", [(0, 4, 3, 2, 2), (2, 0, 3, 2, 2)])
def test_an_empty_data_set_is_an_error_and_not_an_endless_loop(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="at least one clip"):
        Batch(video=torch.zeros(shape))


@pytest.mark.parametrize(
    "labels",
    [
        {"captions": ("one",)},
        {"class_id": torch.zeros(3)},
        {"text": TextEmbedding.from_rows([torch.zeros(1, 3)])},
    ],
)
def test_labels_must_be_one_a_clip(labels: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="as many as clips"):
        Batch(video=torch.zeros(2, 1, 3, 2, 2), **labels)
