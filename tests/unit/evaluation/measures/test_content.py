from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from imagen_video.corpus.scenes import Scene, SceneSource
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.evaluation.material.clips import Clip
from imagen_video.evaluation.material.real_renders import real_clip
from imagen_video.evaluation.measures.content import Probes, shows_ground, shows_motion
from imagen_video.evaluation.measures.styles import StyleJudge
from imagen_video.evaluation.measures.two_subjects import PairJudge
from unit.evaluation.conftest import TIMES, rectangle_clip, thumbnails


def some_scene(store: SpriteStore, kind: str, **facts: object) -> Scene:
    source = SceneSource(store, seed=1, split="all", kinds={kind: 1.0}, complete_captions=True)
    scenes = (source.scene(index) for index in range(2000))
    return next(s for s in scenes if all(getattr(s, k) == v for k, v in facts.items()))


def ball_and_cube(store: SpriteStore, relation: str) -> Scene:
    """Two solids of clear shapes: a ring seen from its edge tells plain pixels nothing."""
    source = SceneSource(store, seed=1, split="all", kinds={"solid pair": 1.0})
    scenes = (source.scene(index) for index in range(2000))
    return next(
        s
        for s in scenes
        if {name.split()[1] for name in s.subjects} == {"ball", "cube"}
        and (s.motion, s.ground) == (relation, "grey")
    )


def clip_of(scene: Scene, store: SpriteStore) -> Clip:
    return Clip(frames=real_clip(scene, store, TIMES, 48, 80), times=TIMES)


def test_the_right_motion_counts_and_its_speed_is_that_of_the_corpus(store: SpriteStore) -> None:
    scene = some_scene(store, "subject", motion="falls", ground="green")
    frames = rectangle_clip("falls")
    assert shows_ground(frames, scene) == 1
    found = shows_motion(frames, TIMES, scene)
    assert found["motion"] == 1
    assert found["speed"] == pytest.approx(1, abs=0.15)
    assert found["axis"] == found["direction"] == 1
    back = shows_motion(frames[::-1], TIMES, scene)
    assert back["motion"] == back["direction"] == 0
    assert back["axis"] == 1
    assert back["speed"] == pytest.approx(-1, abs=0.15)


@pytest.mark.parametrize(
    ("asked", "shown", "axis"),
    [("falls", "left to right", 0), ("spins", "spins", 1), ("bounces", "falls", 0)],
)
def test_only_a_clip_on_the_right_axis_of_a_motion_with_an_opposite_has_a_direction(
    store: SpriteStore, asked: str, shown: str, axis: float
) -> None:
    scene = some_scene(store, "subject", motion=asked)
    found = shows_motion(rectangle_clip(shown), TIMES, scene)
    assert found["axis"] == axis
    assert "direction" not in found


def test_a_clip_that_stands_still_has_no_speed_and_spinning_is_not_asked_for_one(
    store: SpriteStore,
) -> None:
    falling = some_scene(store, "subject", motion="falls")
    still = rectangle_clip("falls")[[0] * 16]
    assert shows_motion(still, TIMES, falling)["speed"] == pytest.approx(0, abs=0.05)
    assert shows_motion(np.zeros_like(still), TIMES, falling)["speed"] == pytest.approx(0, abs=1e-9)
    spinning = some_scene(store, "subject", motion="spins")
    assert "speed" not in shows_motion(still, TIMES, spinning)
    assert shows_motion(still[:3], TIMES[:3], falling) == {}


def test_probes_know_real_subjects_and_are_fitted_once(store: SpriteStore, tmp_path: Path) -> None:
    scenes = [some_scene(store, "subject", subjects=(f"1f40{n}",)) for n in (0, 2, 4)]
    calls = []

    def features(frames: np.ndarray) -> torch.Tensor:
        calls.append(len(frames))
        return thumbnails(frames)

    def fitted() -> Probes:
        like = clip_of(scenes[0], store)
        return Probes.fit(features, store, scenes, like, names=4, renders=12, cache=tmp_path)

    probes = fitted()
    assert calls == [4] * (4 * 12)
    assert len(probes.subject.names) == 4
    done = len(calls)
    again = fitted()
    assert len(calls) == done
    assert again.settings == probes.settings
    scores = [probes.scores(thumbnails(clip_of(s, store).frames), s) for s in scenes]
    assert all(score["top5"] == 1 for score in scores)
    assert {0.0, 1.0} >= {score["top1"] for score in scores}


@pytest.mark.parametrize("relation", ["left of", "above"])
def test_two_solids_are_told_apart_by_place_and_colour(store: SpriteStore, relation: str) -> None:
    scene = ball_and_cube(store, relation)
    judge = PairJudge(thumbnails, store)
    assert judge.scores(clip_of(scene, store), scene) == {"relation": 1, "binding": 1}
    first, second = scene.layers
    swapped = dataclasses.replace(
        scene,
        layers=(
            dataclasses.replace(first, tint=second.tint),
            dataclasses.replace(second, tint=first.tint),
        ),
    )
    assert judge.scores(clip_of(swapped, store), scene)["binding"] == 0


def test_exchanged_places_are_a_wrong_relation_but_the_right_binding(store: SpriteStore) -> None:
    scene = ball_and_cube(store, "left of")
    first, second = scene.layers
    exchanged = dataclasses.replace(
        scene,
        layers=(
            dataclasses.replace(first, track=second.track),
            dataclasses.replace(second, track=first.track),
        ),
    )
    judge = PairJudge(thumbnails, store)
    assert judge.scores(clip_of(exchanged, store), scene) == {"relation": 0, "binding": 1}


def test_two_subjects_have_a_relation_only(store: SpriteStore) -> None:
    scene = some_scene(store, "pair", motion="left of")
    assert PairJudge(thumbnails, store).scores(clip_of(scene, store), scene) == {"relation": 1}


def test_a_real_clip_is_nearest_to_its_own_style(store: SpriteStore) -> None:
    judge = StyleJudge(thumbnails, store)
    scene = some_scene(store, "subject", style="flat", motion="still", ground="grey")
    clip = clip_of(scene, store)
    assert judge.scores(clip, thumbnails(clip.frames), scene).keys() == {"style"}
    (layer,) = scene.layers
    animated = dataclasses.replace(layer, sprite=f"animation/{scene.subjects[0]}")
    other = clip_of(dataclasses.replace(scene, layers=(animated,)), store)
    asked = dataclasses.replace(scene, style="animation", layers=(animated,))
    # the small store's stills are all alike, its animation breathes
    assert judge.scores(other, thumbnails(other.frames), asked)["style"] == 1
    assert judge.scores(other, thumbnails(other.frames), scene)["style"] == 0
