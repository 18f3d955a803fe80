from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagen_video.corpus import decode
from imagen_video.corpus.decode import (
    SIDE,
    IconSet,
    decode_picture,
    digest,
    draw_svg,
    frame_order,
    plain_codepoint,
    read_bytes,
)
from imagen_video.errors import DataError

SQUARE = '<path fill="#ff0000" d="M0 0h5v10H0z"/>'


def webp(colours: list[tuple[int, int, int, int]], size: tuple[int, int], duration: int) -> bytes:
    images = [Image.new("RGBA", size, colour) for colour in colours]
    file = io.BytesIO()
    images[0].save(
        file,
        "WEBP",
        lossless=True,
        exact=True,
        save_all=True,
        append_images=images[1:],
        duration=duration,
    )
    return file.getvalue()


def test_every_frame_of_an_animation_is_decoded_and_premultiplied() -> None:
    content = webp([(200, 100, 0, 255), (200, 100, 0, 51)], (SIDE, SIDE), 42)
    frames = decode_picture(content, "test")
    assert frames.shape == (2, SIDE, SIDE, 4)
    assert frames[0, 5, 5].tolist() == [200, 100, 0, 255]
    assert frames[1, 5, 5].tolist() == [40, 20, 0, 51]


def test_another_shape_is_fitted_into_the_cell_without_distortion() -> None:
    frames = decode_picture(webp([(9, 9, 9, 255)], (100, 50), 42), "test")
    rows, columns = np.nonzero(frames[0, ..., 3] > 128)
    assert (rows.min(), rows.max()) == (64, 191)
    assert (columns.min(), columns.max()) == (0, 255)


def test_frames_at_24_a_second_are_taken_as_they_are() -> None:
    assert frame_order([42.0] * 97) == list(range(97))
    assert frame_order([41.0, 42.0]) == [0, 1]


def test_another_frame_rate_is_resampled_to_24_a_second() -> None:
    assert frame_order([1000 / 12] * 3) == [0, 0, 1, 1, 2, 2]
    assert frame_order([1000 / 48] * 6) == [1, 3, 5]
    assert frame_order([1.0]) == [0]


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not an image at all"])
def test_what_is_no_image_is_a_data_error(content: bytes) -> None:
    with pytest.raises(DataError, match="an image"):
        decode_picture(content, "broken.webp")


def test_a_truncated_animation_is_a_data_error() -> None:
    content = webp([(i, 0, 0, 255) for i in range(6)], (SIDE, SIDE), 42)
    with pytest.raises(DataError):
        decode_picture(content[: len(content) // 2], "broken.webp")


def test_an_enormous_picture_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(DataError, match="leave this file out"):
        decode_picture(webp([(0, 0, 0, 255)], (2000, 8), 42), "huge.webp")


def test_an_enormous_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bytes(tmp_path / "file") == b"12345"
    monkeypatch.setattr(decode, "MAX_FILE_BYTES", 4)
    with pytest.raises(DataError, match="5 bytes"):
        read_bytes(tmp_path / "file")


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        read_bytes(tmp_path / "missing")


def test_code_points_are_compared_without_the_variation_selector() -> None:
    assert plain_codepoint("2708-FE0F") == "2708"
    assert plain_codepoint("1f43b-200d-2744-fe0f") == "1f43b-200d-2744"


def test_the_digest_is_sha256() -> None:
    assert digest(b"abc").startswith("ba7816bf8f01cfea")


def icon_folder(folder: Path, icons: object, chars: object) -> Path:
    folder.mkdir()
    (folder / "icons.json").write_text(json.dumps(icons))
    (folder / "chars.json").write_text(json.dumps(chars))
    return folder


def test_an_icon_is_found_by_code_point_and_drawn(tmp_path: Path) -> None:
    icons = {"width": 10, "height": 10, "icons": {"half": {"body": SQUARE}}}
    icon_set = IconSet(icon_folder(tmp_path / "set", icons, {"1f40e-fe0f": "half"}))
    svg = icon_set.svg("1f40e")
    assert svg is not None
    pytest.importorskip("resvg_py")
    drawn = draw_svg(svg, "half")
    assert drawn.shape == (1, SIDE, SIDE, 4)
    assert drawn[0, 100, 40].tolist() == [255, 0, 0, 255]
    assert drawn[0, 100, 200].tolist() == [0, 0, 0, 0]


def test_an_alias_leads_to_its_parent_and_a_circle_of_aliases_to_nothing(tmp_path: Path) -> None:
    icons = {
        "icons": {"half": {"body": SQUARE}},
        "aliases": {"other": {"parent": "half"}, "a": {"parent": "b"}, "b": {"parent": "a"}},
    }
    chars = {"1": "other", "2": "half", "3": "a"}
    icon_set = IconSet(icon_folder(tmp_path / "set", icons, chars))
    assert icon_set.svg("1") == icon_set.svg("2")
    assert icon_set.svg("3") is None
    assert icon_set.svg("4") is None


@pytest.mark.parametrize(
    ("icons", "chars"), [([], {}), ({}, {}), ({"icons": 3}, {}), ({"icons": {}}, [])]
)
def test_a_malformed_icon_package_is_a_data_error(
    tmp_path: Path, icons: object, chars: object
) -> None:
    with pytest.raises(DataError, match="iconify"):
        IconSet(icon_folder(tmp_path / "set", icons, chars))


def test_an_icon_package_without_json_is_a_data_error(tmp_path: Path) -> None:
    folder = icon_folder(tmp_path / "set", {}, {})
    (folder / "icons.json").write_text("{")
    with pytest.raises(DataError, match="JSON"):
        IconSet(folder)


def test_a_broken_svg_is_a_data_error() -> None:
    pytest.importorskip("resvg_py")
    with pytest.raises(DataError, match="leave this drawing out"):
        draw_svg("<svg", "broken")
