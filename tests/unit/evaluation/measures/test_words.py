from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imagen_video.errors import MissingExtraError
from imagen_video.evaluation.measures import words
from imagen_video.evaluation.measures.words import WordReader, edit_distance


@pytest.fixture(scope="module")
def reader() -> WordReader:
    pytest.importorskip("tesserocr")
    return WordReader()


def written(text: str, size: int = 20) -> np.ndarray:
    """Sixteen frames with a yellow word on blue, in the font that Pillow brings along."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (80, 48), (36, 72, 208))
    font = ImageFont.load_default(size)
    ImageDraw.Draw(picture).text((40, 24), text, fill=(252, 214, 40), font=font, anchor="mm")
    return np.repeat(np.asarray(picture)[None], 16, 0)


TIMES = tuple(range(0, 128, 8))


def test_a_clear_word_is_read_and_another_one_is_not_it(reader: WordReader) -> None:
    frames = written("PIZZA")
    assert reader.score(frames, TIMES, "PIZZA") == (1, 1)
    found = reader.score(frames, TIMES, "PIANO")
    assert found is not None
    assert found[0] == 0
    assert 0 < found[1] < 1


def test_strokes_and_an_empty_ground_read_as_nothing(reader: WordReader) -> None:
    empty = np.full((16, 48, 80, 3), 128, np.uint8)
    assert reader.score(empty, TIMES, "HELLO") == (0, 0)


def test_only_the_end_of_a_clip_is_read(reader: WordReader) -> None:
    frames = np.concatenate([written("WRONG")[:12], written("RIGHT")[:4]])
    assert reader.score(frames, TIMES, "RIGHT") == (1, 1)
    assert reader.score(frames[:8], TIMES[:8], "RIGHT") is None


def test_the_engine_is_asked_for_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(words, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"imagen-video\[eval\]"):
        WordReader()


@pytest.mark.parametrize(
    ("one", "other", "steps"),
    [("", "", 0), ("A", "", 1), ("", "ABC", 3), ("KITTEN", "SITTING", 3), ("AB", "BA", 2)],
)
def test_the_edit_distance_is_levenshteins(one: str, other: str, steps: int) -> None:
    assert edit_distance(one, other) == edit_distance(other, one) == steps
