"""`imagen-video generate` gone wrong: Ctrl-C, a full disk, too little memory, mistakes.

What was finished can be gone on from, and nothing is half written.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imagen_video.media.pictures import write_png
from integration.command_line import PROMPT, SLUG, Generate, command, files_in, frames_of


def test_an_interrupted_run_resumes_to_the_same_bits(
    generate: Generate, interrupt: Callable, tmp_path: Path
) -> None:
    words = (PROMPT, "--until", "ssr1", "--steps", "2", "--seed", "3")
    straight = generate(*words, "--out", tmp_path / "a", "--json")
    with interrupt("ssr1"):
        broken = generate(*words, "--out", tmp_path / "b")
    assert broken.code == 130
    assert f"--resume {tmp_path / 'b'}" in broken.err
    name = f"{SLUG}-3"
    kept = [f".work/{name}/{file}" for file in ("base", "request", "tsr1")]
    assert [file.split(".saf")[0].split(".js")[0] for file in files_in(tmp_path / "b")] == kept
    resumed = command("generate", "--resume", tmp_path / "b", "--json")
    assert resumed.code == 0
    assert [stage["resumed"] for stage in resumed.report["stages"]] == [True, True, False]
    assert np.array_equal(
        frames_of(straight.report["video"]), frames_of(tmp_path / "b" / f"{name}.mp4")
    )
    assert not (tmp_path / "b" / ".work").exists()


def test_resume_makes_the_prompts_that_were_not_begun(
    generate: Generate, interrupt: Callable, tmp_path: Path
) -> None:
    with interrupt("base"):
        generate("a cat", "a dog", "--until", "base", "--out", tmp_path)
    assert command("generate", "--resume", tmp_path).code == 0
    assert {"a-cat-0.mp4", "a-dog-0.mp4"} <= set(files_in(tmp_path))


def test_another_request_never_takes_over_kept_stages(
    generate: Generate, interrupt: Callable, tmp_path: Path
) -> None:
    with interrupt("tsr1"):
        generate(PROMPT, "--until", "tsr1", "--out", tmp_path)
    done = generate(PROMPT, "--until", "tsr1", "--out", tmp_path, "--steps", "3")
    assert done.code == 2
    assert "the work of another request" in done.err
    assert (tmp_path / ".work" / f"{SLUG}-0" / "base.safetensors").is_file()


def test_resume_refuses_a_given_file_that_changed(
    generate: Generate, interrupt: Callable, tmp_path: Path
) -> None:
    write_png(tmp_path / "a.png", np.zeros((30, 40, 3), np.uint8))
    out = tmp_path / "out"
    with interrupt("base"):
        generate(PROMPT, "--until", "base", "--out", out, "--image", tmp_path / "a.png")
    write_png(tmp_path / "a.png", np.ones((30, 40, 3), np.uint8))
    done = command("generate", "--resume", out)
    assert done.code == 2
    assert "other contents than before" in done.err


def test_a_full_disk_is_our_fault_and_leaves_nothing_half_written(
    generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    done = generate(PROMPT, "--until", "tsr1", "--out", tmp_path)
    assert done.code == 1
    assert "No space left" in done.err
    assert "--resume" in done.err
    assert files_in(tmp_path) == [f".work/{SLUG}-0/request.json"]


def test_a_failure_in_the_first_stage_leaves_no_work_behind(
    generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **options: object) -> None:
        raise RuntimeError("a kernel gave up")

    monkeypatch.setattr("imagen_video.cascade.runner.sample_stage", broken)
    assert generate(PROMPT, "--until", "tsr1", "--out", tmp_path).code == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_sampling")
def test_too_little_memory_is_noticed_before_anything_runs(
    generate: Generate, tmp_path: Path
) -> None:
    done = generate(PROMPT, "--memory", "700MB", "--out", tmp_path / "out")
    assert done.code == 1
    assert "raise --memory" in done.err
    assert not (tmp_path / "out").exists()


MISTAKES = {
    "an empty prompt": (("  ",), "an empty prompt"),
    "no prompt": ((), "at least one sentence"),
    "a prompt twice": (("a cat", "a cat"), "twice"),
    "an unknown stage": (("a cat", "--until", "ssr9"), "'ssr9'"),
    "stages in the wrong order": (("a cat", "--start-stage", "ssr1", "--until", "base"), "start"),
    "steps of an unknown stage": (("a cat", "--steps", "ssr9=4"), "stage 'ssr9'"),
    "no steps": (("a cat", "--steps", "0"), "--steps: got '0'"),
    "one step of a few-step sampler": (("a cat", "--steps", "tsr1=1"), "at least 2"),
    "an odd height": (("a cat", "--height", "190"), "multiple"),
    "a later stage without a video": (("a cat", "--start-stage", "ssr1"), "--from-video"),
    "a video that is not there": (("a cat", "--start-stage", "ssr1", "--from-video", "x"), "x"),
    "a picture that is not there": (("a cat", "--image", "x.png"), "--image x.png"),
    "no size": (("a cat", "--memory", "much"), "--memory: got 'much'"),
    "a negative seed": (("a cat", "--seed", "-1"), "--seed"),
    "an unknown device": (("a cat", "--device", "abacus"), "--device"),
    "prompts beside resume": (("a cat", "--resume", "x"), "--resume"),
}


@pytest.mark.usefixtures("no_sampling")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_before_anything_is_done(
    mistake: str, generate: Generate, tmp_path: Path
) -> None:
    words, expected = MISTAKES[mistake]
    done = generate(*words, "--out", tmp_path / "out")
    assert done.code == 2
    assert expected in done.err
    assert not done.out
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_sampling")
def test_a_file_in_the_place_of_the_folder_is_refused(generate: Generate, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    done = generate(PROMPT, "--out", tmp_path / "out")
    assert done.code == 2
    assert "writing" in done.err
    assert (tmp_path / "out").read_text("utf-8") == "mine"


@pytest.mark.usefixtures("no_sampling")
def test_an_unknown_bundle_and_a_damaged_one_are_refused(bundle: Path, tmp_path: Path) -> None:
    assert command("generate", PROMPT, "--out", tmp_path / "out", "--bundle", "nope").code == 2
    shutil.copytree(bundle, tmp_path / "cut")
    weights = tmp_path / "cut" / "ssr3" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    done = command("generate", PROMPT, "--out", tmp_path / "out", "--bundle", tmp_path / "cut")
    assert done.code == 2
    assert "ssr3" in done.err
    assert not (tmp_path / "out").exists()
