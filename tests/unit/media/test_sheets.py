from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imagen_video.errors import InputError
from imagen_video.media.pictures import read_image
from imagen_video.media.sheets import contact_sheet, spread, write_png


def plain(values: list[int], height: int = 10, width: int = 20) -> np.ndarray:
    frames = np.empty((len(values), height, width, 3), np.uint8)
    frames[:] = np.array(values, np.uint8)[:, None, None, None]
    return frames


@pytest.mark.parametrize(("frames", "shown"), [(128, 16), (16, 16), (5, 8), (7, 3), (9, 1), (1, 4)])
def test_shown_frames_are_spread_from_the_first_to_the_last(frames: int, shown: int) -> None:
    chosen = spread(frames, shown)
    assert len(chosen) == min(frames, shown)
    assert chosen[0] == 0
    assert shown == 1 or chosen[-1] == frames - 1
    assert chosen == sorted(set(chosen))


def test_one_clip_fills_rows_in_reading_order() -> None:
    sheet = contact_sheet(plain([10, 20, 30, 40]), columns=2, gap=4)
    assert sheet.shape == (4 + 2 * 14, 4 + 2 * 24, 3)
    centres = [sheet[9, 14, 0], sheet[9, 38, 0], sheet[23, 14, 0], sheet[23, 38, 0]]
    assert centres == [10, 20, 30, 40]
    assert (sheet[:4] == 255).all()


def test_clips_of_different_sizes_have_a_row_each() -> None:
    sheet = contact_sheet([plain([10, 20, 30]), plain([40], 6, 8)], columns=3, gap=2)
    assert sheet.shape == (2 + 12 + 8, 2 + 3 * 22, 3)
    assert sheet[2 + 12 + 1, 3, 0] == 40


def test_labels_add_dark_text_above_their_row() -> None:
    clips = [plain([200, 200]), plain([200, 200])]
    bare = contact_sheet(clips, columns=2, cell_width=80)
    labelled = contact_sheet(clips, columns=2, cell_width=80, labels=["a cat", "a very long " * 50])
    assert labelled.shape[1] == bare.shape[1]
    assert labelled.shape[0] == bare.shape[0] + 40
    assert labelled[:24].min() < 120
    assert bare.min() == 200
    assert labelled[:, -3:].min() == 255  # A long label is shortened, not cut by the edge.


def test_small_frames_are_enlarged_in_hard_pixels() -> None:
    frame = np.zeros((1, 2, 2, 3), np.uint8)
    frame[0, :, 1] = 200
    sheet = contact_sheet(frame, columns=1, cell_width=20, gap=0)
    assert sheet.shape == (20, 20, 3)
    assert set(np.unique(sheet)) == {0, 200}


def test_large_frames_are_reduced_to_the_cells_width() -> None:
    sheet = contact_sheet(plain([90] * 3, 768, 1280), columns=3, cell_width=64, gap=0)
    assert sheet.shape == (38, 192, 3)


@pytest.mark.parametrize(
    ("clips", "options"),
    [
        ([], {}),
        (plain([]), {}),
        ([plain([1]), plain([])], {}),
        ([plain([1])], {"labels": ["a", "b"]}),
        (plain([1]), {"columns": 0}),
        (plain([1]), {"cell_width": 10**6}),
    ],
)
def test_sheets_that_cannot_be_are_refused(clips: object, options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="contact sheet"):
        contact_sheet(clips, **options)  # type: ignore[arg-type]


def test_a_sheet_is_written_and_read_back(tmp_path: Path) -> None:
    sheet = contact_sheet(plain([10, 20]))
    write_png(tmp_path / "sheet.png", sheet)
    assert np.array_equal(read_image(tmp_path / "sheet.png"), sheet)
