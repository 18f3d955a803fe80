from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from imagen_video.corpus.compose import KINDS
from imagen_video.corpus.held_out import is_held_out
from imagen_video.corpus.motions import MOTIONS
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.errors import DataError, InputError
from imagen_video.evaluation.material.prompt_sets import PATTERN, Prompt, PromptSet, prompt_lines


def facts(prompt: Prompt) -> tuple[object, ...]:
    return prompt.subjects, prompt.ground, prompt.motion, prompt.style


def held_out_solid(prompt: Prompt) -> bool:
    """Whether a prompt about one solid holds a held-out pair: their families are their names."""
    colour, solid = prompt.subjects[0].split()
    pairs = [("ground", solid, prompt.ground), ("colour", solid, colour)]
    if prompt.motion in MOTIONS:
        pairs.append(("motion", solid, prompt.motion))
    return any(is_held_out(pair) for pair in pairs)


@pytest.fixture
def own_file(store: SpriteStore, tmp_path: Path) -> Path:
    path = tmp_path / "own.jsonl"
    text = prompt_lines(store, name="own", version=3, split="all", seed=5, count=24)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_built_in_sets_are_disjoint_and_hold_every_kind() -> None:
    sets = [PromptSet.load(name) for name in ("development", "held-out")]
    for prompts in sets:
        assert len(prompts.prompts) == 512
        assert {prompt.kind for prompt in prompts.first(8)} == set(KINDS)
        assert prompts.version == 1
    development, held_out = sets
    assert not {p.prompt for p in development.prompts} & {p.prompt for p in held_out.prompts}
    assert not {*map(facts, development.prompts)} & {*map(facts, held_out.prompts)}
    assert (development.split, held_out.split) == ("train", "held_out")


def test_held_out_prompts_hold_held_out_pairs_and_development_ones_none() -> None:
    for name, expected in (("development", False), ("held-out", True)):
        solids = [p for p in PromptSet.load(name).prompts if p.kind == "solid"]
        assert len(solids) > 50
        assert {held_out_solid(prompt) for prompt in solids} == {expected}


def test_the_first_prompts_are_the_same_for_every_count() -> None:
    prompts = PromptSet.load("held-out")
    assert prompts.first(50)[:10] == prompts.first(10)
    words = prompts.first(5, ("word",))
    assert {prompt.kind for prompt in words} == {"word"}
    assert prompts.first(9, ("word", "pair"))[0].kind == "word"


def test_a_file_of_ones_own_gives_the_scenes_it_was_made_from(
    own_file: Path, store: SpriteStore
) -> None:
    prompts = PromptSet.load(str(own_file))
    scenes = prompts.scenes(store, prompts.prompts)
    assert [scene.caption for scene in scenes] == [prompt.prompt for prompt in prompts.prompts]
    assert [scene.kind for scene in scenes] == [*PATTERN, *PATTERN, *PATTERN]
    others = prompts.reference_scenes(store, prompts.first(8), 16)
    assert [scene.kind for scene in others] == [*PATTERN, *PATTERN]
    assert not {scene.caption for scene in others} & {prompt.prompt for prompt in prompts.prompts}


def test_another_corpus_is_noticed(own_file: Path, store: SpriteStore) -> None:
    prompts = PromptSet.load(str(own_file))
    other = dataclasses.replace(prompts, seed=6)
    with pytest.raises(DataError, match="corpus build"):
        other.scenes(store, other.prompts)


HEAD = '{"format": "imagen-video-prompts", "name": "x", "version": 1, "split": "all", "seed": 0}'
ROW = {
    "prompt": "a",
    "kind": "word",
    "scene": 0,
    "subjects": ["HI"],
    "ground": "red",
    "motion": "still",
    "style": "animation",
}


def line(**changes: object) -> str:
    return HEAD + "\n" + json.dumps({**ROW, **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        "[]",
        "{",
        "[" * 100_000,
        HEAD.replace('"seed": 0', '"seed": -1') + "\n" + json.dumps(ROW),
        HEAD.replace('"all"', '"none"') + "\n" + json.dumps(ROW),
        HEAD + "\n[]",
        line(kind="song"),
        line(scene=-1),
        line(scene="0"),
        line(subjects="HI"),
        line(prompt=" "),
        line() + "\n" + json.dumps(ROW),
        "\x00\xff",
    ],
)
def test_files_that_are_no_prompt_set_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="prompt set"):
        PromptSet.load(str(path))


def test_a_name_that_is_neither_set_nor_file_is_refused() -> None:
    with pytest.raises(InputError, match="held-out, or a file"):
        PromptSet.load("heldout")


@pytest.mark.parametrize(("count", "kinds"), [(0, ()), (513, ()), (65, ("word",)), (1, ("song",))])
def test_counts_and_kinds_that_are_not_there_are_refused(count: int, kinds: tuple[str]) -> None:
    with pytest.raises(InputError, match=r"--(count|kinds)"):
        PromptSet.load("held-out").first(count, kinds)
