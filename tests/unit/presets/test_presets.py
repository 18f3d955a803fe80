from __future__ import annotations

import pytest

from imagen_video.errors import InputError
from imagen_video.presets import PRESETS, preset


def test_a_preset_is_found_by_its_name() -> None:
    for name in PRESETS:
        assert preset(name).name == name


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'papier'.*emoji.*paper.*tiny"):
        preset("papier")
