from __future__ import annotations

import numpy as np
import pytest

from imagen_video.corpus.scenes import Scene, SceneSource
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.evaluation.material.real_renders import real_clip
from imagen_video.evaluation.measures.views import view_changes

TIMES = tuple(range(0, 128, 8))


@pytest.fixture(scope="module")
def solid(store: SpriteStore) -> np.ndarray:
    source = SceneSource(store, seed=0, split="all", kinds={"solid": 1.0})
    scenes = (source.scene(index) for index in range(200))

    def fits(scene: Scene) -> bool:
        return scene.motion == "still" and scene.subjects[0].endswith("cube")

    scene = next(scene for scene in scenes if fits(scene))
    return real_clip(scene, store, TIMES, 48, 80)


def test_a_solid_that_turns_comes_back_to_its_first_view(solid: np.ndarray) -> None:
    found = view_changes(solid, TIMES)
    assert found is not None
    around, between = found
    assert around < 1
    assert between > 4 * around + 1


def test_a_frozen_solid_never_changes_and_a_changing_one_never_returns(solid: np.ndarray) -> None:
    assert view_changes(solid[[0] * 16], TIMES) == (0, 0)
    melting = solid.copy()
    for index in range(9, 16):  # other pixels of the same kinds: stripes of it swapped
        melting[index] = melting[index][np.arange(48) // 4 * 4 + (np.arange(48) + 2) % 4]
        melting[index, :, ::2] = 255 - melting[index, :, ::2]
    healthy, ill = view_changes(solid, TIMES), view_changes(melting, TIMES)
    assert healthy is not None
    assert ill is None or ill[0] > healthy[0] + 5


def test_an_empty_ground_and_a_short_clip_have_no_views(solid: np.ndarray) -> None:
    assert view_changes(np.full_like(solid, 128), TIMES) is None
    assert view_changes(solid[:8], TIMES[:8]) is None
