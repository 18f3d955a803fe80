"""The tests really check the shapes that the package's annotations state."""

from __future__ import annotations

from typing import TypeAlias

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from shape_checks import mentions_array

PerhapsArray: TypeAlias = Float[Tensor, "b"] | None


def test_a_wrong_shape_is_stopped_at_the_border_of_a_function() -> None:
    from imagen_video.diffusion.parameterization import x_from_v

    video = torch.zeros(2, 3, 1, 4, 5)
    assert x_from_v(video, video, torch.zeros(2)).shape == video.shape
    with pytest.raises(TypeCheckError):
        x_from_v(video, video[:, :2], torch.zeros(2))
    with pytest.raises(TypeCheckError):
        x_from_v(video, video, torch.zeros(3))


def test_a_wrong_ordinary_type_reaches_our_own_code() -> None:
    from imagen_video.errors import InputError

    assert InputError(where=None, got=1, expected=2, fix=3).got == 1  # type: ignore[arg-type]


def test_shapes_are_found_inside_unions_and_containers() -> None:
    assert mentions_array(PerhapsArray)
    assert mentions_array(dict[str, Float[Tensor, "b f"]])
    assert not mentions_array(Tensor | None)
    assert not mentions_array(str)
