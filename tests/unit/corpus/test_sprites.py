from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.corpus import sprites
from imagen_video.corpus.sprites import (
    SpriteStore,
    SpriteWriter,
    content_box,
    premultiply,
    shrink,
)
from imagen_video.errors import DataError, InputError, ResourceError

ABOUT = {"tinted": False, "source": "code", "licence": "MIT", "sha256": ""}


def noise(count: int, side: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed).integers(0, 256, (count, side, side, 4), dtype=np.uint8)
    return premultiply(random)


@pytest.fixture
def copy(store_folder: Path, tmp_path: Path) -> Path:
    """A store of one's own, to damage."""
    return Path(shutil.copytree(store_folder, tmp_path / "store"))


def edit(folder: Path, change: Any) -> None:
    index = json.loads((folder / "index.json").read_text())
    change(index)
    (folder / "index.json").write_text(json.dumps(index))


def test_frames_come_back_as_they_were_written(tmp_path: Path) -> None:
    first, second = noise(3, 16), noise(2, 16, seed=1)
    with SpriteWriter(tmp_path, levels=(16, 8)) as writer:
        writer.add(first, key="a", **ABOUT)
        writer.add(second, key="b", **ABOUT)
        writer.finish(())
    store = SpriteStore.open(tmp_path)
    assert np.array_equal(store.frame(store.sprites["a"], 2, 16), first[2])
    assert np.array_equal(store.frame(store.sprites["b"], 1, 16), second[1])


def test_an_animation_loops_in_both_directions(store: SpriteStore) -> None:
    sprite = next(sprite for sprite in store.sprites.values() if sprite.count > 1)
    last = store.frame(sprite, sprite.count - 1, 32)
    assert np.array_equal(store.frame(sprite, -1, 32), last)
    assert np.array_equal(store.frame(sprite, 2 * sprite.count - 1, 32), last)


def test_smaller_sizes_average_premultiplied_pixels() -> None:
    frames = noise(2, 16)
    small = shrink(frames, 4)
    expected = frames.reshape(2, 4, 4, 4, 4, 4).mean(axis=(2, 4))
    assert np.abs(small - expected).max() <= 0.5


def test_a_transparent_coloured_pixel_does_not_bleed_into_smaller_sizes() -> None:
    straight = np.zeros((1, 2, 2, 4), dtype=np.uint8)
    straight[..., 0] = 255  # red everywhere, but only one pixel shows
    straight[0, 0, 0] = (0, 255, 0, 255)
    assert shrink(premultiply(straight), 1)[0, 0, 0].tolist() == [0, 64, 0, 64]


@given(st.integers(0, 255), st.integers(0, 255))
def test_premultiplied_colour_is_the_nearest_level_and_never_above_alpha(
    colour: int, alpha: int
) -> None:
    pixel = premultiply(np.array([[[colour, 0, 0, alpha]]], dtype=np.uint8))[0, 0]
    assert abs(int(pixel[0]) - colour * alpha / 255) <= 0.5
    assert pixel[0] <= pixel[3]


def test_the_content_box_ignores_sparks_of_a_few_frames() -> None:
    frames = np.zeros((20, 10, 10, 4), dtype=np.uint8)
    frames[:, 2:8, 3:6, 3] = 255
    frames[0, 0, 0, 3] = 255
    assert content_box(frames) == (0.3, 0.2, 0.6, 0.8)


def test_the_content_box_of_nothing_is_the_whole_cell() -> None:
    assert content_box(np.zeros((1, 8, 8, 4), dtype=np.uint8)) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("pixels", "level"), [(4, 16), (20, 16), (21, 32), (40, 32), (64, 64), (900, 64)]
)
def test_the_level_neither_blurs_nor_skips_pixels(
    store: SpriteStore, pixels: float, level: int
) -> None:
    assert store.level_for(pixels) == level


def test_a_new_store_replaces_the_old_one_while_it_is_read(copy: Path) -> None:
    old = SpriteStore.open(copy)
    sprite = next(iter(old.sprites.values()))
    before = old.frame(sprite, 0, 64).copy()
    with SpriteWriter(copy, levels=(64,)) as writer:
        writer.add(noise(1, 64), key="new", **ABOUT)
        writer.finish(())
    assert np.array_equal(old.frame(sprite, 0, 64), before)
    assert list(SpriteStore.open(copy).sprites) == ["new"]
    assert len(list(copy.glob("frames-*"))) == 1


def build_half_a_store(folder: Path) -> None:
    with SpriteWriter(folder, levels=(64, 32)) as writer:
        writer.add(noise(1, 64), key="new", **ABOUT)
        raise RuntimeError("stop")


def test_an_interrupted_build_leaves_the_old_store_and_no_litter(copy: Path) -> None:
    before = sorted(path.name for path in copy.iterdir())
    with pytest.raises(RuntimeError, match="stop"):
        build_half_a_store(copy)
    assert sorted(path.name for path in copy.iterdir()) == before
    SpriteStore.open(copy)


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="check the path") as caught:
        SpriteWriter(tmp_path / "file" / "store")
    assert not isinstance(caught.value, ResourceError)


def test_a_full_disk_is_a_resource_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ResourceError, match="No space left"):
        SpriteWriter(tmp_path / "store")


def test_a_missing_store_says_to_build_the_corpus(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="build the corpus first"):
        SpriteStore.open(tmp_path)


def test_a_truncated_data_file_is_refused_before_it_is_mapped(copy: Path) -> None:
    data = next(copy.glob("frames-32-*"))
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(DataError, match="bytes"):
        SpriteStore.open(copy)


def test_a_missing_data_file_is_refused(copy: Path) -> None:
    next(copy.glob("frames-16-*")).unlink()
    with pytest.raises(DataError, match="no file"):
        SpriteStore.open(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.pop("frames"),
        lambda index: index.update(frames=10**12),
        lambda index: index.update(frames=-1),
        lambda index: index.update(frames=True),
        lambda index: index.update(levels=[]),
        lambda index: index.update(sprites=[]),
        lambda index: index.update(sprites=3),
        lambda index: index.update(format="other"),
        lambda index: index.update(version=2),
        lambda index: index["levels"][0].update(size=10**6),
        lambda index: index["levels"][0].update(file="../frames.raw"),
        lambda index: index["levels"][0].update(file="/etc/passwd"),
        lambda index: index["sprites"][0].update(first=-1),
        lambda index: index["sprites"][0].update(count=10**6),
        lambda index: index["sprites"][0].update(count=0),
        lambda index: index["sprites"][0].update(box=[0, 0, 2, 1]),
        lambda index: index["sprites"][0].update(box=[0.5, 0, 0.5, 1]),
        lambda index: index["sprites"][0].update(box=[float("nan"), 0, 1, 1]),
        lambda index: index["sprites"][0].update(key=5),
        lambda index: index["sprites"][0].update(tinted="yes"),
        lambda index: index["sprites"][0].update(surprise=1),
        lambda index: index["subjects"][0].update(noun=None),
        lambda index: index["subjects"][0].update(noun="x" * 10_000),
    ],
)
def test_a_hostile_index_is_a_data_error(copy: Path, change: Any) -> None:
    edit(copy, change)
    with pytest.raises(DataError):
        SpriteStore.open(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000])
def test_an_index_that_is_no_object_is_a_data_error(copy: Path, text: str) -> None:
    (copy / "index.json").write_text(text)
    with pytest.raises(DataError):
        SpriteStore.open(copy)


def test_an_enormous_index_is_not_read(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprites, "MAX_INDEX_BYTES", 100)
    with pytest.raises(DataError, match="at most 100 bytes"):
        SpriteStore.open(copy)
