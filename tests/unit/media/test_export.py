from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imagen_video import export_to_video, media
from imagen_video.errors import InputError
from imagen_video.media.video_io import probe_video, read_video

FRAMES = np.zeros((4, 8, 12, 3), dtype=np.uint8)
FRAMES[:, :, 6:] = 255
FLOATS = torch.from_numpy(FRAMES).movedim(-1, -3).float() / 127.5 - 1


def test_every_output_type_becomes_an_h264_file(tmp_path: Path) -> None:
    for frames in (FRAMES, [Image.fromarray(f) for f in FRAMES], FLOATS):
        path = export_to_video(frames, tmp_path / "new" / "a.mp4", 12)
        info = probe_video(path)
        assert (info.codec, info.fps, info.num_frames) == ("h264", 12, 4)
        assert np.abs(read_video(path)[0].astype(int) - FRAMES).max() < 60  # 4:2:0 at the edge


@pytest.mark.parametrize(("suffix", "kind"), [(".gif", "GIF"), (".apng", "PNG"), (".png", "PNG")])
def test_the_suffix_chooses_the_format(tmp_path: Path, suffix: str, kind: str) -> None:
    moving = FRAMES.copy()
    moving[:, 0, 0] = np.arange(0, 200, 50)[:, None]
    info = probe_video(export_to_video(moving, str(tmp_path / f"a{suffix}"), 10))
    assert (info.format, info.num_frames, info.fps) == (kind, 4, 10)


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = export_to_video(FRAMES, tmp_path / "a.mp4", 12)
    before = path.read_bytes()
    with pytest.raises(InputError, match="values from"):
        export_to_video(FLOATS * 3, path, 12)
    with pytest.raises(InputError, match="fps"):
        export_to_video(FRAMES, path, 0)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_another_suffix_and_several_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"suffix '\.avi'"):
        export_to_video(FRAMES, tmp_path / "a.avi", 12)
    with pytest.raises(InputError, match="2 clips"):
        export_to_video([FRAMES, FRAMES], tmp_path / "a.mp4", 12)


def test_the_media_package_offers_it_as_well() -> None:
    assert media.export_to_video is export_to_video
    with pytest.raises(AttributeError, match="nonsense"):
        _ = media.nonsense
