from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imagen_video.corpus.compose import COLOURS
from imagen_video.corpus.meshes import SOLIDS
from imagen_video.corpus.packages import find_font
from imagen_video.corpus.subjects import read_subjects
from imagen_video.corpus.words import LETTERS, WORDS, draw_glyphs
from imagen_video.errors import DataError


def test_there_are_a_hundred_different_short_words() -> None:
    assert len(set(WORDS)) == len(WORDS) >= 100
    assert all(1 < len(word) <= 5 and set(word) <= set(LETTERS) for word in WORDS)


def test_no_word_names_a_colour_or_a_thing_that_scenes_show() -> None:
    names = {subject.name.upper() for subject in read_subjects()}
    shown = names | {name.upper() for name in (*COLOURS, *SOLIDS)} | {"LEFT", "RIGHT", "UP", "DOWN"}
    assert not shown & set(WORDS)


@pytest.fixture(scope="module")
def glyphs() -> dict[str, tuple[np.ndarray, tuple[float, float, float, float]]]:
    pytest.importorskip("fontpkg_lilita_one")
    return draw_glyphs(find_font(), 64)


def test_every_letter_is_drawn_inside_its_cell(
    glyphs: dict[str, tuple[np.ndarray, tuple[float, float, float, float]]],
) -> None:
    assert set(glyphs) == set(LETTERS)
    for letter, (cell, _) in glyphs.items():
        assert cell.shape == (1, 64, 64, 4), letter
        assert 0.03 < (cell[..., 3] > 128).mean() < 0.5, letter
        border = np.concatenate([cell[0, 0], cell[0, -1], cell[0, :, 0], cell[0, :, -1]])
        assert not border.any(), letter
        assert np.array_equal(cell[..., 0], cell[..., 3])


def test_letters_are_bold_and_all_different(
    glyphs: dict[str, tuple[np.ndarray, tuple[float, float, float, float]]],
) -> None:
    pictures = {letter: cell[0, ..., 3].tobytes() for letter, (cell, _) in glyphs.items()}
    assert len(set(pictures.values())) == 26
    stem = (glyphs["I"][0][0, 32, :, 3] > 128).sum()
    assert stem >= 0.12 * 64


def test_boxes_hold_the_capitals_and_are_as_wide_as_the_advance(
    glyphs: dict[str, tuple[np.ndarray, tuple[float, float, float, float]]],
) -> None:
    _, (left, top, right, bottom) = glyphs["H"]
    inked = np.argwhere(glyphs["H"][0][0, ..., 3] > 128) / 64
    assert inked[:, 0].min() == pytest.approx(top, abs=0.02)
    assert inked[:, 0].max() == pytest.approx(bottom, abs=0.03)
    assert left < inked[:, 1].min() < inked[:, 1].max() < right
    width = {letter: box[2] - box[0] for letter, (_, box) in glyphs.items()}
    assert width["W"] > width["H"] > width["I"]


def test_a_file_that_is_no_font_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "font.ttf").write_bytes(b"not a font")
    with pytest.raises(DataError, match="TrueType"):
        draw_glyphs(tmp_path / "font.ttf", 32)
