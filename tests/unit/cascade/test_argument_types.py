from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from imagen_video.cascade.argument_types import check_types
from imagen_video.cascade.options import StageOptions
from imagen_video.errors import InputError
from unit.cascade.small_cascades import random_video, small_pipeline


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"memory": "4GB"}, "memory"),
        ({"num_inference_steps": "8"}, "num_inference_steps"),
        ({"num_inference_steps": 2.5}, "num_inference_steps"),
        ({"num_inference_steps": True}, "num_inference_steps"),
        ({"guidance_weight": "3"}, "guidance_weight"),
        ({"guidance_scale": "3"}, "guidance_scale"),
        ({"height": "12"}, "height"),
        ({"width": [12]}, "width"),
        ({"num_frames": 2.0}, "num_frames"),
        ({"stages": {"base": {}}}, "stages['base']"),
        ({"stages": [StageOptions()]}, "stages"),
        ({"stages": {"base": StageOptions(steps="8")}}, "stages['base'].steps"),  # pyright: ignore[reportArgumentType]
        ({"stages": {"base": StageOptions(gamma="x")}}, "stages['base'].gamma"),  # pyright: ignore[reportArgumentType]
        ({"generator": 5}, "generator"),
    ],
)
def test_an_argument_of_a_wrong_type_is_refused_by_its_name(
    arguments: dict[str, Any], where: str
) -> None:
    with pytest.raises(InputError) as caught:
        small_pipeline()("a cat", **arguments)
    assert caught.value.where == where
    assert "of type" in caught.value.got


def test_the_other_ways_of_calling_are_checked_too() -> None:
    pipeline, video = small_pipeline(), random_video(1, 4, 3, 4, 6)
    wrong: Any = "8"
    with pytest.raises(InputError, match="num_inference_steps"):
        pipeline.upscale(video, num_inference_steps=wrong)
    with pytest.raises(InputError, match="memory"):
        pipeline.interpolate(video, only="tsr1", memory=wrong)
    with pytest.raises(InputError, match="overlap"):
        pipeline.extend(video, "a cat", 1.0, fps=6, overlap=wrong)
    with pytest.raises(InputError, match="height"):
        pipeline("a cat", image=video[0, 0], height=wrong)


def test_numpys_numbers_and_none_are_as_good_as_pythons() -> None:
    check_types(
        {
            "num_frames": np.int64(8),
            "num_inference_steps": np.int32(2),
            "guidance_weight": np.float32(1.5),
            "memory": 4e9,
            "height": None,
            "stages": {"base": StageOptions(steps=2, sampler="ddim")},
            "generator": torch.Generator(),
            "until": 5,  # not known here: whoever knows it checks it
        }
    )
