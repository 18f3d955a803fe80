from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.data.batches.epochs import Mixture, example, example_draws
from imagen_video.errors import InputError

SHARES = st.one_of(st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0]), st.floats(0, 1))


def mixture(image_fraction: float = 0.0, packed: float = 0.0, clips: int = 4) -> Mixture:
    return Mixture(clips=clips, images=6, image_fraction=image_fraction, packed_images=packed)


@given(fraction=SHARES, packed=SHARES, clips=st.integers(1, 5))
def test_the_closed_form_counts_what_came_before(
    fraction: float, packed: float, clips: int
) -> None:
    mixed = mixture(fraction, packed, clips)
    images, of_clips, of_packed = 0, 0, 0
    for step in range(60):
        if mixed.is_images(step):
            assert mixed.image_positions(step) == range(images, images + 6)
            images += 6
            continue
        for row, is_packed in enumerate(mixed.packed_rows(step)):
            assert mixed.row_position(step, row) == (of_packed if is_packed else of_clips)
            of_packed, of_clips = of_packed + is_packed, of_clips + (not is_packed)


@given(fraction=SHARES, start=st.integers(0, 10**12))
def test_the_share_of_image_steps_is_kept_in_any_stretch(fraction: float, start: int) -> None:
    mixed = mixture(fraction)
    count = sum(mixed.is_images(step) for step in range(start, start + 200))
    assert abs(count - 200 * fraction) <= 1.05


def test_a_quarter_of_the_rows_packed_is_one_of_four() -> None:
    assert sum(sum(mixture(0, 0.25).packed_rows(step)) for step in range(8)) == 8
    assert mixture(0, 0).packed_rows(3) == (False,) * 4
    assert mixture(0, 1).packed_rows(3) == (True,) * 4


@given(count=st.integers(1, 50), seed=st.integers(0, 1000), epoch=st.integers(0, 5))
def test_every_example_comes_once_an_epoch(count: int, seed: int, epoch: int) -> None:
    first = epoch * count
    seen = [example("clips", position, count, seed) for position in range(first, first + count)]
    assert sorted(seen) == list(range(count))


def test_epochs_streams_and_seeds_have_orders_of_their_own() -> None:
    orders = Counter(
        tuple(example(stream, epoch * 40 + place, 40, seed) for place in range(40))
        for stream in ("clips", "images", "packed")
        for epoch in range(3)
        for seed in range(3)
    )
    assert len(orders) == 27


@given(position=st.integers(0, 10**15), count=st.integers(1, 1000))
def test_a_run_can_go_on_with_fewer_clips_than_it_began_with(position: int, count: int) -> None:
    assert 0 <= example("clips", position, count, 0) < count


def test_draws_depend_on_the_position_alone() -> None:
    first = example_draws("clips", 7, 3).random(4)
    assert (first == example_draws("clips", 7, 3).random(4)).all()
    for other in (example_draws("clips", 8, 3), example_draws("packed", 7, 3)):
        assert (first != other.random(4)).any()


@pytest.mark.parametrize(
    ("name", "value"),
    [("clips", 0), ("images", 0), ("image_fraction", -0.1), ("packed_images", float("nan"))],
)
def test_shares_and_sizes_that_are_none_are_refused(name: str, value: float) -> None:
    values = {"clips": 1, "images": 1, "image_fraction": 0.0, "packed_images": 0.0, name: value}
    with pytest.raises(InputError, match=name):
        Mixture(**values)
