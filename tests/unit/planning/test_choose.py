from __future__ import annotations

from typing import Any

import pytest

from imagen_video.errors import InputError
from imagen_video.planning import choose
from imagen_video.planning.choose import (
    ENOUGH_ROWS,
    Wish,
    clips_for,
    fastest,
    images_for,
    options,
)
from imagen_video.planning.memory import Choice, MemoryPlan
from imagen_video.presets.tiny import tiny

MILLION = 1_000_000
SHEET = 30


def wish(**changes: Any) -> Wish:
    values: dict[str, Any] = {
        "cascade": tiny(),
        "stage": "base",
        "gpus": 4,
        "gpu_memory": 100 * MILLION,
        **changes,
    }
    return Wish(**values)


@pytest.fixture(autouse=True)
def simple_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip takes 10 MB, 4 with checkpointing, twice that in fp32; state 60 MB, 20 if split."""

    def predict(
        cascade: object, stage: str, choice: Choice, *, ranks: int, rows: int, **how: bool
    ) -> MemoryPlan:
        each = (4 if choice.checkpointing else 10) * (2 if choice.precision == "fp32" else 1)
        if how.get("images"):
            each = 5
        state = 20 if choice.sharding == "fsdp" else 60
        state += 15 if how.get("accumulate") else 0
        zero = dict.fromkeys(("parameters", "gradients", "optimizer", "ema", "copies"), 0)
        return MemoryPlan(
            **zero,
            activations=each * rows,
            overhead=0,
            step_peak=(state + each * rows) * MILLION,
            sheet_peak=SHEET * MILLION,
        )

    monkeypatch.setattr(choose, "predict", predict)


def words(**changes: Any) -> list[str]:
    return [str(option.choice) for option in options(wish(**changes))]


def test_the_order_is_from_the_fastest_to_the_slowest() -> None:
    assert words() == [
        "ddp, no checkpointing, bf16",
        "fsdp, no checkpointing, bf16",
        "ddp, checkpointing, bf16",
        "fsdp, checkpointing, bf16",
        "ddp, no checkpointing, fp32",
        "fsdp, no checkpointing, fp32",
        "ddp, checkpointing, fp32",
        "fsdp, checkpointing, fp32",
    ]


def test_what_is_given_is_not_tried_otherwise() -> None:
    assert words(sharding="fsdp", precision="fp32", checkpointing=True) == [
        "fsdp, checkpointing, fp32"
    ]


def test_one_gpu_shares_with_nobody() -> None:
    assert all(text.startswith("none") for text in words(gpus=1))


def test_the_most_clips_are_those_that_still_fit() -> None:
    by_name = {str(o.choice): o for o in options(wish())}
    assert by_name["ddp, no checkpointing, bf16"].most_rows == 4
    assert by_name["fsdp, no checkpointing, bf16"].most_rows == 8
    assert by_name["fsdp, checkpointing, fp32"].most_rows == 10
    assert by_name["fsdp, checkpointing, fp32"].rows == ENOUGH_ROWS


def test_the_fastest_that_fits_is_chosen() -> None:
    found = list(options(wish()))
    best = fastest(found)
    assert best is not None
    assert best is found[0]
    assert clips_for(wish(), best) == 16
    tight = fastest(list(options(wish(gpu_memory=35 * MILLION))))
    assert tight is not None
    assert str(tight.choice) == "fsdp, no checkpointing, bf16"


def test_sheets_that_do_not_fit_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SHEET", 500)
    option = fastest(list(options(wish())))
    assert option is not None
    assert not option.sheets
    assert option.peak == option.memory.step_peak <= wish().gpu_memory


def test_nothing_fits_into_too_little() -> None:
    found = list(options(wish(gpu_memory=10 * MILLION)))
    assert fastest(found) is None
    assert {option.most_rows for option in found} == {0}


def test_a_batch_that_does_not_fit_at_once_is_accumulated() -> None:
    option = next(options(wish(batch=40)))  # ten clips a GPU, of which four fit, two with gradients
    assert (option.rows, option.accumulate) == (2, 5)
    assert option.fits
    assert clips_for(wish(batch=40), option) == 40


def test_images_are_as_many_as_the_frames_that_fit() -> None:
    option = next(options(wish(batch=4)))
    assert option.rows == 1
    assert images_for(wish(batch=4), option) == 4 * 4
    tight = wish(batch=4, gpu_memory=75 * MILLION)
    assert images_for(tight, next(options(tight))) == 2 * 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stage": "nope"}, "one of"),
        ({"gpus": 0}, "--gpus: got 0"),
        ({"batch": 3}, "3 clips for 4 GPUs"),
        ({"sharding": "none"}, "none with --gpus 4"),
        ({"sharding": "ddp", "gpus": 1}, "ddp with --gpus 1"),
    ],
)
def test_impossible_wishes_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        wish(**changes)
