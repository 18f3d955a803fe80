"""Files of prompts are checked line by line before anything starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from imagen_video.cascade.distilled import DistilledSpec
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cli.batch_prompts import MAX_LINE, read_lines
from imagen_video.cli.batch_samples import parse_pool, parse_shares
from imagen_video.errors import InputError
from imagen_video.presets.tiny import tiny

STAGES = ("base", "ssr1")


def test_a_text_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("\ufeffa cat\n\n# no prompt\n  a dog \n", encoding="utf-8")
    assert [line.prompt for line in read_lines(path, STAGES)] == ["a cat", "a dog"]


def test_a_line_of_json_says_what_it_wants(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"prompt": "a cat", "id": "c.1", "seed": 3, "negative_prompt": "red",'
        ' "steps": {"base": 4}, "guidance_weight": 2}\n{"class_id": 4, "steps": 7}\n'
        '{"vector": [0.5, NaN]}\n'
        '{"prompt": "a dog", "id": null, "steps": "2,ssr1=3"}\n',
        encoding="utf-8",
    )
    cat, four, vector, dog = read_lines(path, STAGES)
    assert (cat.prompt, cat.id, cat.seed, cat.negative_prompt) == ("a cat", "c.1", 3, "red")
    assert (cat.steps, cat.guidance_weight) == ({"base": 4}, 2.0)
    assert (four.class_id, four.steps) == (4, {"base": 7, "ssr1": 7})
    assert vector.vector is not None
    assert vector.vector[0] == 0.5
    assert (dog.id, dog.steps) == (None, {"base": 2, "ssr1": 3})


def test_a_lines_number_of_steps_passes_distilled_stages_by(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a cat", "steps": 7}\n', encoding="utf-8")
    base, other = tiny().stages[:2]
    student = dataclasses.replace(
        base,
        sampling=SamplingSpec(sampler="ddim", steps=1),
        distilled=DistilledSpec(sampler="ddim", steps=1),
    )
    with pytest.warns(UserWarning, match=r"\(base: 1\); 7 is for the other stages"):
        (line,) = read_lines(path, (base.name, other.name), (student, other))
    assert line.steps == {other.name: 7}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Expecting property name"),
        ('["a cat"]', "a JSON object"),
        ("{}", "a prompt, class_id or vector"),
        ('{"title": "a cat"}', "title: got an unknown key"),
        ('{"prompt": 3}', "prompt: got a int"),
        ('{"prompt": " "}', "prompt: got an empty prompt"),
        ('{"prompt": "a \\ud800"}', "surrogate"),
        ('{"prompt": "a", "id": "../b"}', "id: got '../b'"),
        ('{"prompt": "a", "id": ".b"}', "no dot in front"),
        ('{"prompt": "a", "id": "' + "b" * 200 + '"}', "id: got"),
        ('{"prompt": "a", "seed": -1}', "seed: got -1"),
        ('{"prompt": "a", "seed": true}', "seed: got True"),
        ('{"prompt": "a", "seed": 1.5}', "seed: got 1.5"),
        ('{"prompt": "a", "steps": {"ssr9": 1}}', "steps: got stage 'ssr9'"),
        ('{"prompt": "a", "steps": 0}', "steps: got '0'"),
        ('{"prompt": "a", "steps": [1]}', "steps: got"),
        ('{"prompt": "a", "guidance_weight": Infinity}', "guidance_weight: got inf"),
        ('{"prompt": "a", "guidance_weight": "2"}', "guidance_weight: got '2'"),
        ('{"class_id": "3"}', "class_id: got '3'"),
        ('{"vector": []}', "vector: got"),
        ('{"vector": [1' + "0" * 400 + "]}", "vector: got"),
        ('{"prompt": "' + "a" * 30_000 + '"}', "prompt: got"),
        ("[" * 100_000, "line 2"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a cat"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_lines(path, STAGES)
    assert "p.jsonl line 2" in str(caught.value)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("a" * (MAX_LINE + 2), encoding="utf-8")
    with pytest.raises(InputError, match=r"line 1: got more than"):
        read_lines(path, STAGES)


def test_files_that_cannot_be_read_or_are_empty_are_said(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for name in ("missing.txt", "empty.txt", "latin.txt", "."):
        with pytest.raises(InputError):
            read_lines(tmp_path / name, STAGES)


def test_pools_are_said_at_once_or_one_by_one() -> None:
    assert parse_pool(("base=1,ssr1=8",), STAGES) == {"base": 1, "ssr1": 8}
    assert parse_pool(("base=1", "ssr1=8"), STAGES) == {"base": 1, "ssr1": 8}
    for bad in ("base", "base=0", "base=1.5", "ssr9=1", "8", "base=1,,ssr1=2"):
        with pytest.raises(InputError, match="--pool"):
            parse_pool((bad,), STAGES)


def test_shares_of_an_actor_are_parts_of_one_or_whole() -> None:
    assert parse_shares(None, STAGES, "--gpus") == {}
    assert parse_shares("1,base=0.25", STAGES, "--gpus") == {"base": 0.25, "ssr1": 1.0}
    assert parse_shares("base=2", STAGES, "--cpus") == {"base": 2.0}
    for bad in ("1.5", "-1", "base", "base=x", "ssr9=1", "nan", ""):
        with pytest.raises(InputError, match="--gpus"):
            parse_shares(bad, STAGES, "--gpus")
