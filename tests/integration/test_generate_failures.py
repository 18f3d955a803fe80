"""`imagen-video generate` gone wrong: Ctrl-C, a full disk, too little memory, mistakes.

What was finished can be gone on from, and nothing is half written.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imagen_video.media.pictures import write_png
from imagen_video.media.video_io import write_video
from integration.command_line import PROMPT, SLUG, Generate, command, files_in, frames_of


def test_an_interrupted_run_resumes_to_the_same_bits(
    generate: Generate, interrupt: Callable, tmp_path: Path
) -> None:
    words = (PROMPT, "--until", "ssr1", "--steps", "2", "--seed", "3")
    straight = generate(*words, "--out", tmp_path / "a", "--json")
    with interrupt("ssr1"):
        broken = generate(*words, "--out", tmp_path / "b")
    assert broken.code == 130
    assert (
        f"finished stages are kept; go on with: imagen-video generate --resume {tmp_path / 'b'}"
        in (broken.err)
    )
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
        broken = generate("a cat", "a dog", "--until", "base", "--out", tmp_path)
    assert "the request is kept; go on with" in broken.err
    assert "finished" not in broken.err
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


def test_resume_goes_on_from_a_request_that_lacks_a_later_setting(
    generate: Generate, interrupt: Callable, tmp_path: Path
) -> None:
    with interrupt("base"):
        generate(PROMPT, "--until", "base", "--out", tmp_path)
    file = tmp_path / ".work" / f"{SLUG}-0" / "request.json"
    older = json.loads(file.read_text(encoding="utf-8"))
    del older["vector"]
    file.write_text(json.dumps(older), encoding="utf-8")
    done = command("generate", "--resume", tmp_path)
    assert (done.code, (tmp_path / f"{SLUG}-0.mp4").is_file()) == (0, True)


def test_resume_refuses_what_it_would_ignore(tmp_path: Path) -> None:
    words = ("--memory", "3GB", "--steps", "3", "--negative-prompt", "fog", "--bundle", "other")
    done = command("generate", "--resume", tmp_path, *words, "--precision", "fp32")
    assert done.code == 2
    assert "got --bundle, --negative-prompt, --steps, --precision beside it" in done.err
    done = command("generate", "--resume", tmp_path, "--json", "--keep-stages", "--device", "cpu")
    assert "no unfinished video" in done.err


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
    assert generate(PROMPT, "--until", "tsr1", "--out", tmp_path / "new" / "folder").code == 1
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    assert generate(PROMPT, "--until", "tsr1", "--out", tmp_path / "mine").code == 1
    assert (tmp_path / "mine").is_dir()  # it was there before


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
    "an odd height": (("a cat", "--height", "190"), "use 128 or 192"),
    "an empty negative prompt": (("a cat", "--negative-prompt", ""), "negative prompt: got"),
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


@pytest.mark.usefixtures("no_sampling")
@pytest.mark.parametrize("identity", [None, '{"encoder": "words"}'])
def test_a_bundle_with_a_bad_text_encoder_is_refused_and_leaves_no_folder(
    identity: str | None, bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(bundle, tmp_path / "other")
    file = tmp_path / "other" / "text_encoder.json"
    file.unlink() if identity is None else file.write_text(identity, encoding="utf-8")
    done = command("generate", PROMPT, "--out", tmp_path / "out", "--bundle", tmp_path / "other")
    assert done.code == 2
    assert "text_encoder.json" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_sampling")
def test_a_size_beside_a_given_video_is_told_to_be_the_videos(
    generate: Generate, tmp_path: Path
) -> None:
    write_video(tmp_path / "clip.mp4", np.zeros((4, 12, 20, 3), np.uint8), fps=3)
    words = ("--start-stage", "tsr1", "--from-video", tmp_path / "clip.mp4", "--height", "190")
    done = generate(PROMPT, *words, "--out", tmp_path / "out")
    assert done.code == 2
    assert "with a given video" in done.err
