from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagen_video.corpus.grounds import draw_ground
from imagen_video.corpus.motions import Place, Track
from imagen_video.corpus.render import accent_of, oversampling, render
from imagen_video.corpus.scene import Layer, Scene
from imagen_video.corpus.scenes import SceneSource
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.errors import DataError

BLANK = Scene(
    kind="subject",
    caption="",
    image_caption="",
    subjects=(),
    ground="green",
    tone=1.0,
    motion="still",
    style="animation",
    layers=(),
    pairs=(),
)


def with_layer(sprite: str, place: Place, **more: object) -> Scene:
    track = Track(start=place, end=place)
    layer = Layer(sprite=sprite, track=track, **more)  # type: ignore[arg-type]
    return replace(BLANK, layers=(layer,))


def area_mean(video: np.ndarray, factor: int) -> np.ndarray:
    frames, height, width, _ = video.shape
    blocks = video.reshape(frames, height // factor, factor, width // factor, factor, 3)
    return blocks.mean(axis=(2, 4))


def drawn(store: SpriteStore, scene: Scene, height: int = 96, frame: float = 0) -> np.ndarray:
    return render(scene, store, [frame], height, height * 5 // 3)[0].astype(int)


def test_an_empty_scene_is_its_ground(store: SpriteStore) -> None:
    video = render(BLANK, store, [0, 1], 24, 40)
    assert video.shape == (2, 24, 40, 3)
    assert video.dtype == np.uint8
    assert np.array_equal(video[0], draw_ground("green", 1.0, (24, 40), (0, 0, 24, 40)))


def test_no_frames_give_an_empty_video(store: SpriteStore) -> None:
    assert render(BLANK, store, [], 24, 40).shape == (0, 24, 40, 3)


@pytest.mark.parametrize(("small", "factor"), [(24, 2), (24, 8), (48, 4), (96, 2)])
def test_sizes_agree_after_averaging(store: SpriteStore, small: int, factor: int) -> None:
    source = SceneSource(store, seed=1, split="all")
    for index in range(12):
        scene = source.scene(index)
        low = render(scene, store, [0, 77], small, small * 5 // 3)
        high = render(scene, store, [0, 77], small * factor, small * 5 // 3 * factor)
        difference = np.abs(low - area_mean(high.astype(float), factor))
        assert difference.mean() < 0.02 * 255 / 2
        assert np.percentile(difference, 99) < 0.1 * 255


@given(
    index=st.integers(0, 1000),
    crop=st.tuples(st.integers(0, 60), st.integers(0, 100), st.integers(1, 36), st.integers(1, 60)),
    height=st.sampled_from([96, 144]),
)
@settings(max_examples=30)
def test_a_crop_equals_that_region_of_the_full_frame(
    store: SpriteStore, index: int, crop: tuple[int, int, int, int], height: int
) -> None:
    scene = SceneSource(store, seed=2, split="all").scene(index)
    width = height * 5 // 3
    full = render(scene, store, [50], height, width)[0].astype(int)
    part = render(scene, store, [50], height, width, crop)[0].astype(int)
    top, left, rows, columns = crop
    assert part.shape == (rows, columns, 3)
    assert np.abs(part - full[top : top + rows, left : left + columns]).max() <= 1


def test_frames_do_not_depend_on_which_others_are_asked_for(store: SpriteStore) -> None:
    scene = SceneSource(store, seed=3, split="all").scene(0)
    together = render(scene, store, range(0, 128, 8), 24, 40)
    alone = np.concatenate([render(scene, store, [f], 24, 40) for f in range(0, 128, 8)])
    assert np.array_equal(together, alone)


def test_content_lies_where_its_place_says(store: SpriteStore) -> None:
    scene = with_layer("animation/1f401", Place(x=0.4, y=0.3, size=0.3))
    changed = np.abs(drawn(store, scene) - drawn(store, BLANK)).sum(axis=-1) > 8
    rows, columns = np.nonzero(changed)
    assert (rows.min() + rows.max()) / 2 / 96 == pytest.approx(0.3, abs=0.02)
    assert (columns.min() + columns.max()) / 2 / 96 == pytest.approx(0.4, abs=0.02)


def test_a_sprite_is_centred_by_its_content_not_its_cell(store: SpriteStore) -> None:
    key = "glyph/A"
    sprite = replace(store.sprites[key], box=(0.3, 0.25, 0.5, 0.45))
    other = SpriteStore(
        folder=store.folder,
        sprites={key: sprite},
        subjects=(),
        frames={level: store._frames[level] for level in store.levels},
    )
    place = Place(x=0.8, y=0.5, size=0.4)
    moved = drawn(other, with_layer(key, place, tint=(255, 0, 0)))
    usual = drawn(store, with_layer(key, place, tint=(255, 0, 0)))

    def centre_of_red(picture: np.ndarray) -> np.ndarray:
        return np.argwhere(picture[..., 0] > 200).mean(axis=0) / 96

    shift = centre_of_red(moved) - centre_of_red(usual)
    assert shift == pytest.approx([0.4 * 0.15, 0.4 * 0.1], abs=0.02)


def test_mirroring_swaps_left_and_right(store: SpriteStore) -> None:
    place = Place(x=5 / 6, y=0.5, size=0.8)
    usual = drawn(store, with_layer("flat/1f402", place), height=48)
    mirrored = drawn(store, with_layer("flat/1f402", place, mirrored=True), height=48)
    assert np.abs(usual - mirrored).max() > 30  # the left half is dark
    assert np.abs(usual[:, ::-1] - mirrored).max() <= 2


def test_rotation_is_clockwise(store: SpriteStore) -> None:
    place = Place(x=5 / 6, y=0.5, size=0.8)
    track = Track(start=place, end=place, rhythm="spin")
    layer = Layer(sprite="flat/1f402", track=track)
    picture = drawn(store, replace(BLANK, layers=(layer,)), frame=16)  # a quarter turn
    middle = picture.shape[1] // 2
    top, bottom = picture[30, middle].sum(), picture[66, middle].sum()
    assert bottom > top + 60  # the dark left half has turned to the top


def test_a_hidden_layer_leaves_the_ground(store: SpriteStore) -> None:
    place = Place(x=0.8, y=0.5, size=0.5)
    layer = Layer(sprite="glyph/B", track=Track(start=place, end=place, appears=20))
    scene = replace(BLANK, layers=(replace(layer, tint=(255, 255, 255)),))
    assert np.array_equal(drawn(store, scene, frame=19), drawn(store, BLANK))
    assert not np.array_equal(drawn(store, scene, frame=20), drawn(store, BLANK))


def test_a_layer_outside_the_frame_changes_nothing(store: SpriteStore) -> None:
    scene = with_layer("flat/1f402", Place(x=-3, y=0.5, size=0.5))
    assert np.array_equal(drawn(store, scene), drawn(store, BLANK))


def test_the_animation_plays_from_its_phase(store: SpriteStore) -> None:
    place = Place(x=5 / 6, y=0.5, size=0.8)
    later = with_layer("animation/1f402", place, phase=3)
    usual = with_layer("animation/1f402", place)
    assert np.array_equal(drawn(store, later, frame=0), drawn(store, usual, frame=3))
    assert not np.array_equal(drawn(store, later, frame=0), drawn(store, usual, frame=0))
    assert np.array_equal(drawn(store, usual, frame=2.9), drawn(store, usual, frame=2))


def test_a_tinted_solid_has_its_colour(store: SpriteStore) -> None:
    place = Place(x=5 / 6, y=0.5, size=0.9)
    scene = with_layer("solid/cube", place, tint=(222, 40, 44))
    middle = drawn(store, scene)[40:56, 72:88].reshape(-1, 3).mean(axis=0)
    assert middle[0] > 120
    assert middle[1] < 90
    assert middle[2] < 90


def test_a_later_layer_covers_an_earlier_one(store: SpriteStore) -> None:
    place = Place(x=5 / 6, y=0.5, size=0.8)
    red = with_layer("glyph/A", place, tint=(255, 0, 0)).layers
    blue = with_layer("glyph/A", place, tint=(0, 0, 255)).layers
    picture = drawn(store, replace(BLANK, layers=red + blue))
    assert picture[..., 0].max() < 80
    assert picture[..., 2].max() == 255


@pytest.mark.parametrize("size", [(24, 40), (40, 24), (64, 64), (30, 90), (1, 1), (7, 13)])
def test_other_proportions_keep_the_subject_in_the_middle(
    store: SpriteStore, size: tuple[int, int]
) -> None:
    scene = with_layer("flat/1f403", Place(x=5 / 6, y=0.5, size=0.8))
    picture = render(scene, store, [0], *size)[0].astype(int)
    assert picture.shape == (*size, 3)
    changed = np.abs(picture - draw_ground("green", 1.0, size, (0, 0, *size))).sum(axis=-1)
    if min(size) > 20:
        centre = (np.argwhere(changed > 20).mean(axis=0) + 0.5) / size
        assert centre == pytest.approx([0.5, 0.5], abs=0.06)


@pytest.mark.parametrize(
    "crop", [(-1, 0, 4, 4), (0, 0, 25, 4), (0, 37, 4, 4), (0, 0, 0, 4), (0, 0, 4, -4)]
)
def test_a_crop_outside_the_frame_is_refused(
    store: SpriteStore, crop: tuple[int, int, int, int]
) -> None:
    with pytest.raises(DataError, match="keep the crop inside"):
        render(BLANK, store, [0], 24, 40, crop)


@pytest.mark.parametrize("size", [(0, 40), (24, 0), (10_000, 40)])
def test_an_impossible_frame_is_refused(store: SpriteStore, size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="frame size"):
        render(BLANK, store, [0], *size)


def test_a_sprite_that_the_store_lacks_is_named(store: SpriteStore) -> None:
    with pytest.raises(DataError, match="flat/unknown"):
        drawn(store, with_layer("flat/unknown", Place(x=0, y=0, size=1)))


def test_small_frames_are_oversampled_and_large_ones_are_not() -> None:
    assert [oversampling(height) for height in (24, 48, 96, 192, 768)] == [4, 4, 2, 1, 1]


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_the_accent_is_a_valid_colour_that_differs(tint: tuple[int, int, int]) -> None:
    accent = accent_of(tint)
    assert all(0 <= channel <= 255 for channel in accent)
    assert np.abs(np.array(accent) - tint).max() > 10
