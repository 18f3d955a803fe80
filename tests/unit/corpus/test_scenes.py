from __future__ import annotations

from collections import Counter
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagen_video.corpus.cast import COLOURS, clear_colours
from imagen_video.corpus.compose import KINDS
from imagen_video.corpus.grounds import GROUNDS, MAX_TONE_SHIFT
from imagen_video.corpus.motions import MOTIONS, pose_at
from imagen_video.corpus.scene import Scene
from imagen_video.corpus.scenes import SceneSource, held_out_prompts
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.errors import DataError


def scenes(store: SpriteStore, count: int, **choices: object) -> list[Scene]:
    source = SceneSource(store, **{"seed": 7, "split": "all", **choices})
    return [source.scene(index) for index in range(count)]


@given(index=st.integers(0, 2**64 - 1), seed=st.integers(0, 2**64 - 1))
@settings(max_examples=25)
def test_a_scene_follows_from_seed_and_index_alone(
    store: SpriteStore, index: int, seed: int
) -> None:
    one, other = SceneSource(store, seed=seed), SceneSource(store, seed=seed)
    other.scene(index // 2)  # reading another first changes nothing
    assert one.scene(index) == other.scene(index)


def test_scenes_differ_by_index_and_by_seed(store: SpriteStore) -> None:
    first, second = scenes(store, 40), scenes(store, 40, seed=8)
    assert len(set(first)) == 40
    assert not set(first) & set(second)


def test_a_scene_cannot_be_changed(store: SpriteStore) -> None:
    with pytest.raises(FrozenInstanceError):
        scenes(store, 1)[0].ground = "red"  # type: ignore[misc]


def test_kinds_come_in_their_shares(store: SpriteStore) -> None:
    found = Counter(scene.kind for scene in scenes(store, 3000))
    for kind, share in KINDS.items():
        assert found[kind] / 3000 == pytest.approx(share, abs=0.03)


def test_kinds_can_be_chosen_by_name_or_weight(store: SpriteStore) -> None:
    assert {s.kind for s in scenes(store, 60, kinds=["word", "solid"])} == {"word", "solid"}
    weights = {"word": 1.0, "solid": 0.0}
    assert {s.kind for s in scenes(store, 60, kinds=weights)} == {"word"}


@pytest.mark.parametrize(
    "choices",
    [
        {"kinds": ["cube"]},
        {"kinds": []},
        {"kinds": {"word": 0.0}},
        {"kinds": {"word": 2.0, "solid": -1.0}},
        {"split": "test"},
        {"seed": -1},
        {"seed": 2**64},
    ],
)
def test_an_unknown_choice_is_refused(store: SpriteStore, choices: dict[str, object]) -> None:
    with pytest.raises(DataError):
        scenes(store, 1, **choices)


def test_a_kind_that_the_store_has_nothing_for_is_refused(store: SpriteStore) -> None:
    bare = SpriteStore(
        folder=store.folder,
        sprites={key: one for key, one in store.sprites.items() if key.startswith("solid/cube")},
        subjects=(),
        frames={64: np.zeros((1, 64, 64, 4), dtype=np.uint8)},
    )
    for kind in ("subject", "word", "pair", "solid pair"):
        with pytest.raises(DataError, match="leave this kind out"):
            SceneSource(bare, seed=0, kinds=[kind])
    assert SceneSource(bare, seed=0, kinds=["solid"]).scene(0).subjects[0].endswith("cube")


def test_training_never_shows_a_held_out_pair(store: SpriteStore) -> None:
    shown = {pair for scene in scenes(store, 1200, split="train") for pair in scene.pairs}
    held = {pair for scene in scenes(store, 200, split="held_out") for pair in scene.pairs} - shown
    assert held
    assert not any(scene.held_out for scene in scenes(store, 200, split="train"))


def test_every_held_out_scene_holds_a_pair_that_training_lacks(store: SpriteStore) -> None:
    assert all(scene.held_out for scene in scenes(store, 100, split="held_out"))
    kinds = {scene.kind for scene in scenes(store, 200, split="held_out")}
    assert kinds == set(KINDS)


def test_the_seed_does_not_change_what_is_held_out(store: SpriteStore) -> None:
    shown = {p for scene in scenes(store, 600, split="train", seed=1) for p in scene.pairs}
    for scene in scenes(store, 60, split="held_out", seed=2):
        assert not set(scene.pairs) <= shown


def test_evaluation_scenes_are_fixed_complete_and_all_different(store: SpriteStore) -> None:
    prompts = held_out_prompts(store, 40)
    assert [scene.caption for scene in held_out_prompts(store, 15)] == [
        scene.caption for scene in prompts[:15]
    ]
    assert len({scene.caption for scene in prompts}) == 40
    assert len({(s.subjects, s.ground, s.motion, s.style) for s in prompts}) == 40
    for scene in prompts:
        assert scene.held_out
        assert f"{GROUNDS[scene.ground].phrase} background" in scene.caption


def test_too_many_evaluation_scenes_for_a_small_store_are_refused(store: SpriteStore) -> None:
    single = SpriteStore(
        folder=store.folder,
        sprites={"animation/1f400": store.sprites["animation/1f400"]},
        subjects=(replace(store.subjects[0], verb="x"),),
        frames={64: np.zeros((100, 64, 64, 4), dtype=np.uint8)},
    )
    with pytest.raises(DataError, match="ask for fewer"):
        held_out_prompts(single, 25, kinds=["subject"])


def test_an_image_is_a_frame_of_the_same_scene_without_motion_words(store: SpriteStore) -> None:
    source = SceneSource(store, seed=3, split="all")
    phrases = [p for m in MOTIONS.values() for p in m.phrases]
    frames = set()
    for index in range(300):
        scene, frame = source.image(index)
        assert scene == source.scene(index)
        assert 0 <= frame <= 127
        assert not any(phrase in scene.image_caption for phrase in phrases)
        if scene.kind == "word":
            assert frame >= 96
        frames.add(frame)
    assert len(frames) > 80


def test_every_layer_of_a_word_is_visible_in_its_images(store: SpriteStore) -> None:
    for scene in scenes(store, 100, kinds=["word"]):
        assert len(scene.layers) == len(scene.subjects[0]) <= 5
        assert all(pose_at(layer.track, 96) for layer in scene.layers)


def test_letters_stand_in_reading_order_within_the_frame(store: SpriteStore) -> None:
    for scene in scenes(store, 100, kinds=["word"]):
        ends = [layer.track.end for layer in scene.layers]
        assert [end.x for end in ends] == sorted(end.x for end in ends)
        assert ends[0].x - 0.2 * ends[0].size > 0
        assert ends[-1].x + 0.2 * ends[-1].size < 5 / 3
        assert len({end.size for end in ends}) == 1


def test_a_subject_is_large(store: SpriteStore) -> None:
    for scene in scenes(store, 200, kinds=["subject"]):
        left, top, right, bottom = store.sprites[scene.layers[0].sprite].box
        track = scene.layers[0].track
        height = max(track.start.size, track.end.size) * max(bottom - top, (right - left) / 1.3)
        assert 0.49 <= height <= 0.95


def test_the_first_of_a_pair_is_left_of_or_above_the_second(store: SpriteStore) -> None:
    for scene in scenes(store, 200, kinds=["pair", "solid pair"]):
        first, second = (layer.track.end for layer in scene.layers)
        if scene.motion == "left of":
            assert second.x - first.x > 0.6
            assert abs(second.y - first.y) < 0.1
        else:
            assert second.y - first.y > 0.4
            assert abs(second.x - first.x) < 0.2


def test_the_two_of_a_pair_are_different_things(store: SpriteStore) -> None:
    for scene in scenes(store, 200, kinds=["pair"]):
        assert scene.subjects[0] != scene.subjects[1]
    for scene in scenes(store, 200, kinds=["solid pair"]):
        (colour, solid), (other_colour, other) = (name.split() for name in scene.subjects)
        assert colour != other_colour
        assert solid != other


def test_colours_in_captions_are_those_that_are_drawn(store: SpriteStore) -> None:
    for scene in scenes(store, 200, kinds=["solid", "solid pair"]):
        for name, layer in zip(scene.subjects, scene.layers, strict=True):
            assert layer.tint == COLOURS[name.split()[0]]
            assert name in scene.caption


@pytest.mark.parametrize("ground", list(GROUNDS))
def test_every_ground_leaves_colours_to_choose_from(ground: str) -> None:
    assert len(clear_colours(ground)) >= 2
    assert len(clear_colours(ground, for_letters=True)) >= 1
    assert ground not in clear_colours(ground)


def test_tones_stay_close_to_the_named_colour(store: SpriteStore) -> None:
    tones = [scene.tone for scene in scenes(store, 300)]
    assert max(abs(tone - 1) for tone in tones) <= MAX_TONE_SHIFT
    assert max(tones) - min(tones) > MAX_TONE_SHIFT


def test_a_side_view_faces_the_way_it_moves(store: SpriteStore) -> None:
    seen = set()
    for scene in scenes(store, 2500, kinds=["subject"]):
        layer = scene.layers[0]
        if scene.subjects == ("1f400",):  # looks to the left
            seen.add(scene.motion)
            assert layer.mirrored == (scene.motion == "left to right")
        else:
            assert not layer.mirrored
    assert seen == set(MOTIONS)


def test_stills_do_not_claim_to_gallop(store: SpriteStore) -> None:
    for scene in scenes(store, 300, kinds=["subject"]):
        if scene.style != "animation":
            assert "galloping" not in scene.caption
            assert "roaring" not in scene.image_caption
