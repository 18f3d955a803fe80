from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imagen_video.errors import InputError
from imagen_video.interop.frames import from_diffusers, to_diffusers

VIDEO = torch.rand(2, 3, 3, 4, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
"""`(b, f, c, h, w)` in [-1, 1]."""


@pytest.mark.parametrize("output_type", ["np", "pt", "pil"])
def test_what_diffusers_would_return_is_read_back(output_type: str) -> None:
    told = to_diffusers(VIDEO, output_type)
    back = from_diffusers(told)
    # pictures are rounded to bytes
    atol = 1 / 127 if output_type == "pil" else 1e-6
    torch.testing.assert_close(back.to_float(), VIDEO, atol=atol, rtol=0)
    single = from_diffusers(told[0]).to_float()
    torch.testing.assert_close(single, VIDEO[:1], atol=atol, rtol=0)
    listed = from_diffusers(list(told)).to_float()
    torch.testing.assert_close(listed, VIDEO, atol=atol, rtol=0)


def test_the_forms_are_those_of_diffusers() -> None:
    array = to_diffusers(VIDEO, "np")
    assert array.shape == (2, 3, 4, 6, 3)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array[0, 0, 0, 0], (VIDEO[0, 0, :, 0, 0].numpy() + 1) / 2)
    assert to_diffusers(VIDEO, "pt").shape == VIDEO.shape
    pictures = to_diffusers(VIDEO, "pil")
    assert isinstance(pictures[1][2], Image.Image)
    assert pictures[1][2].size == (6, 4)


def test_values_stay_in_the_range_of_diffusers_and_the_video_as_it_was() -> None:
    video = torch.tensor([-1.5, 2.0]).reshape(1, 2, 1, 1, 1).expand(1, 2, 3, 1, 1).clone()
    assert to_diffusers(video, "pt").unique().tolist() == [0, 1]
    assert video.unique().tolist() == [-1.5, 2.0]


def test_bytes_in_an_array_are_taken_as_they_are() -> None:
    frames = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    np.testing.assert_array_equal(from_diffusers(frames).to_uint8()[0], frames)


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        (VIDEO, r"expected floats in \[0, 1\]"),
        (torch.full((1, 2, 3, 4, 6), torch.nan), "NaN: run the pipeline in float32"),
        (torch.rand(1, 4, 2, 8, 8), "not for latents"),
        (torch.rand(1, 3, 4, 8, 8), "not for latents"),
        (torch.zeros(1, 2, 3, 4, 6, dtype=torch.long), "not for latents"),
        (np.zeros((4, 6, 3)), "not for latents"),
        (np.zeros((0, 4, 6, 3)), "no frames"),
        ([np.zeros((2, 4, 6, 3)), np.zeros((3, 4, 6, 3))], "clips of one shape"),
        ([], "a list"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_video_is_refused(frames: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        from_diffusers(frames)
