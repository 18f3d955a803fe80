"""Words of the command line become values, and requests survive being written down."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.cascade.distilled import DistilledSpec
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cli.settings import (
    MAX_SLUG,
    Settings,
    file_names,
    parse_memory,
    parse_steps,
    parse_vector,
    read_prompts,
    slug,
)
from imagen_video.errors import InputError
from imagen_video.presets.tiny import tiny

STAGES = ("base", "tsr1", "ssr3")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4_000_000_000),
        ("900 mb", 900_000_000),
        ("3.5GiB", 3758096384),
        ("1024", 1024),
        ("7B", 7),
        ("none", None),
    ],
)
def test_a_size_of_memory_is_read_with_its_unit(text: str, size: int | None) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "GB", "-1GB", "4 gigs", "1e9", "0", "inf", "4GB extra", "9" * 400, "9" * 300 + "GB"],
)
def test_what_is_no_size_of_memory_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--memory"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (None, {}),
        ("8", {"base": 8, "tsr1": 8, "ssr3": 8}),
        ("ssr3=4,base=32", {"ssr3": 4, "base": 32}),
        (" 8 , ssr3 = 4", {"base": 8, "tsr1": 8, "ssr3": 4}),
        ("ssr3=4,8", {"base": 8, "tsr1": 8, "ssr3": 4}),
    ],
)
def test_steps_are_for_all_stages_or_for_those_named(
    text: str | None, steps: dict[str, int]
) -> None:
    assert parse_steps(text, STAGES) == steps


@pytest.mark.parametrize(
    "text", ["", "0", "-4", "4.5", "ssr3", "ssr3=", "=4", "ssr3=4=5", "ssr9=4"]
)
def test_steps_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--steps"):
        parse_steps(text, STAGES)


def test_a_number_for_all_stages_passes_distilled_ones_by() -> None:
    tiny_cascade = tiny()
    names = [stage.name for stage in tiny_cascade.stages]
    base, other = tiny_cascade.stages[:2]
    made_for = DistilledSpec(sampler="ddim", steps=1)
    student = dataclasses.replace(
        base, distilled=made_for, sampling=SamplingSpec(sampler="ddim", steps=1)
    )
    with pytest.warns(UserWarning, match=r"\(base: 1\); 4 is for the other stages"):
        steps = parse_steps("4", names, chosen=(student, other))
    assert steps == dict.fromkeys(names[1:], 4)
    assert parse_steps("4,base=1", names, chosen=(student, other))["base"] == 1
    assert parse_steps("base=4", names, chosen=(student, other)) == {"base": 4}  # refused later
    assert (
        parse_steps("4", names, chosen=(student,))["base"] == 4
    )  # as well: no other could take it


@pytest.mark.parametrize(("text", "numbers"), [("0.5", [0.5]), ("-1,2e1", [-1.0, 20.0])])
def test_a_vector_is_numbers_with_commas(text: str, numbers: list[float]) -> None:
    assert parse_vector(text) == numbers


@pytest.mark.parametrize("text", ["", "high", "1,,2", "inf", "1e999"])
def test_what_is_no_vector_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--vector"):
        parse_vector(text)


@given(st.text(min_size=1))
def test_a_slug_is_always_a_plain_short_file_name(prompt: str) -> None:
    name = slug(prompt)
    assert name
    assert len(name) <= MAX_SLUG + 7
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_a_slug_reads_like_the_prompt() -> None:
    assert slug("A panda, dancing on the Moon!") == "a-panda-dancing-on-the-moon"
    assert slug("caf\u00e9") == "cafe"


def test_prompts_that_differ_get_files_that_differ() -> None:
    long = "a very long sentence about a panda " * 4
    prompts = ["a cat", "a cat!", long + "one", long + "two", "\u732b", "\u72ac"]
    names = file_names(prompts, 5)
    assert len(set(names)) == len(names)
    assert all(name.endswith("-5") for name in names)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a \u732b", "a \u72ac"),
        ("a \U0001f431", "a \U0001f436"),
        ("\u0663 cats", "\u0664 cats"),
        ("s\u00f8t", "s\u00e6t"),
        ("vector -0.5", "vector 0.5"),
        ("vector 1 -.5", "vector 1 .5"),
        ("vector 1e-05", "vector 1e+05"),
        ("\u22125 degrees", "5 degrees"),
    ],
)
def test_prompts_of_different_runs_do_not_overwrite_one_another(one: str, other: str) -> None:
    assert slug(one) != slug(other)


def test_a_name_is_marked_only_where_it_lost_something() -> None:
    assert slug("a top-10 cat \u2013 \u201cna\u00efve\u201d!") == "a-top-10-cat-naive"


def test_the_name_of_a_prompt_does_not_depend_on_the_others_unless_it_must() -> None:
    assert file_names(["a cat", "a dog"], 0) == ["a-cat-0", "a-dog-0"]


def test_a_file_of_prompts_has_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("# animals\na cat\n\n  a dog  \n", encoding="utf-8")
    assert read_prompts(tmp_path / "p.txt") == ["a cat", "a dog"]


def test_the_mark_that_some_editors_put_in_front_of_a_file_is_no_part_of_a_prompt(
    tmp_path: Path,
) -> None:
    (tmp_path / "p.txt").write_text("# animals\na cat\n", encoding="utf-8-sig")
    assert read_prompts(tmp_path / "p.txt") == ["a cat"]
    (tmp_path / "p.txt").write_text("a cat\n", encoding="utf-8-sig")
    assert read_prompts(tmp_path / "p.txt") == ["a cat"]


@pytest.mark.parametrize("content", [b"", b"# only a remark\n", b"\xff\xfe\x00"])
def test_a_file_without_prompts_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(InputError, match="--prompts"):
        read_prompts(tmp_path / "p.txt")


SETTINGS = Settings(
    prompt="a cat",
    seed=1,
    bundle="emoji",
    bundle_sha256="00",
    precision="fp32",
    steps={"base": 3},
    guidance_weight=0.5,
    class_id=3,
    vector=[0.5, 1.0],
)


def test_a_video_without_a_prompt_is_called_by_its_labels() -> None:
    untold = Settings(prompt="", seed=1, bundle="b", bundle_sha256="", precision="fp32")
    assert untold.title == ""
    assert SETTINGS.title == "a cat class 3 vector 0.5 1"
    assert file_names([SETTINGS.title], 4) == ["a-cat-class-3-vector-0-5-1-4"]


def test_settings_survive_being_written_and_read(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(json.dumps(SETTINGS.to_json()), encoding="utf-8")
    assert Settings.read(tmp_path / "request.json") == SETTINGS


def test_what_a_request_leaves_out_is_what_its_settings_are_by_default(tmp_path: Path) -> None:
    plain = Settings(prompt="a", seed=1, bundle="b", bundle_sha256="", precision="fp32").to_json()
    assert plain == {**Settings.defaults(), **plain}
    older = {key: value for key, value in plain.items() if key not in ("vector", "steps")}
    (tmp_path / "request.json").write_text(json.dumps(older), encoding="utf-8")
    assert Settings.read(tmp_path / "request.json").to_json() == {**Settings.defaults(), **older}


@pytest.mark.parametrize(
    "change",
    [
        {"vector": [1, "a"]},
        {"vector": 3},
        {"class_id": 0.5},
        {"seed": "1"},
        {"prompt": None},
        {"unknown": 1},
        {"steps": {"base": "3"}},
        {"steps": [3]},
    ],
)
def test_a_request_that_was_tampered_with_is_refused(
    change: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps(SETTINGS.to_json() | change), encoding="utf-8")
    with pytest.raises(InputError, match=r"request\.json"):
        Settings.read(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{" * 5000])
def test_a_request_that_is_no_request_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"request\.json"):
        Settings.read(tmp_path / "request.json")
