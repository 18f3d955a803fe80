"""`imagen-video batch` in this process: the videos of `generate`, whatever goes wrong between."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagen_video.distributed import local
from imagen_video.distributed.manifest import NAME
from imagen_video.distributed.sample import Sample
from imagen_video.distributed.worker import StageStep
from imagen_video.media.video_io import read_metadata
from integration.command_line import Done, Generate, command, files_in, frames_of

Batch = Callable[..., Done]
LINES = [
    {"prompt": "a cat dancing", "id": "cat", "negative_prompt": "blue", "steps": {"base": 2}},
    {"prompt": "a dog", "seed": 5},
]


@pytest.fixture
def batch(bundle: Path, one_encoder: None, tmp_path: Path) -> Batch:
    """Run `batch` with the tiny bundle in fp32, up to tsr1, on some lines."""

    def run(lines: list[Any], *words: str | Path) -> Done:
        path = tmp_path / "prompts.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        fixed = ("--bundle", bundle, "--precision", "fp32", "--until", "tsr1")
        return command("batch", path, *fixed, "--out", tmp_path / "out", *words)

    return run


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, str], None]], None]:
    """Call something before every stage of a sample, which may raise."""

    def breaking(before: Callable[[str, str], None]) -> None:
        real = StageStep.run

        def run(self: StageStep, sample: Sample, row: Any) -> Any:
            before(sample.id, self.name)
            return real(self, sample, row)

        monkeypatch.setattr(StageStep, "run", run)

    return breaking


def entries(folder: Path) -> dict[str, Any]:
    lines = (folder / NAME).read_text("utf-8").splitlines()
    return {entry["id"]: entry for entry in map(json.loads, lines)}


def test_videos_are_those_of_generate_to_the_bit(
    batch: Batch, generate: Generate, tmp_path: Path
) -> None:
    done = batch(LINES)
    out = tmp_path / "out"
    assert (done.code, done.out) == (0, f"wrote {out}/cat.mp4\nwrote {out}/a-dog-5.mp4\n")
    assert files_in(out) == ["a-dog-5.mp4", "cat.mp4", NAME]
    words = ("--until", "tsr1", "--out", tmp_path / "generated", "--json")
    cat = generate("a cat dancing", *words, "--negative-prompt", "blue", "--steps", "base=2")
    dog = generate("a dog", *words, "--seed", "5")
    assert np.array_equal(frames_of(out / "cat.mp4"), frames_of(cat.report["video"]))
    assert np.array_equal(frames_of(out / "a-dog-5.mp4"), frames_of(dog.report["video"]))
    assert read_metadata(out / "cat.mp4")["prompt"] == "a cat dancing"
    noted = entries(out)["cat"]
    assert [stage["name"] for stage in noted["stages"]] == ["text", "base", "tsr1"]
    assert noted["settings"]["steps"] == {"base": 2}
    assert noted["clip"] == {"frames": 8, "height": 6, "width": 10, "fps": 6.0}


def test_several_samples_of_a_prompt_have_seeds_one_after_another(
    batch: Batch, tmp_path: Path
) -> None:
    done = batch(LINES[1:], "--samples", "2", "--json")
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["a-dog-5", "a-dog-6"]
    five, six = (frames_of(tmp_path / "out" / f"a-dog-{seed}.mp4") for seed in (5, 6))
    assert not np.array_equal(five, six)


def test_what_is_finished_is_not_made_again(
    batch: Batch, no_sampling_after: Callable[[], None], tmp_path: Path
) -> None:
    assert batch(LINES).code == 0
    no_sampling_after()
    done = batch(LINES)
    assert done.code == 0
    assert "2 of 2 samples are finished already" in done.err


@pytest.fixture
def no_sampling_after(
    breaking: Callable[[Callable[[str, str], None]], None],
) -> Callable[[], None]:
    def refuse(name: str, stage: str) -> None:
        raise AssertionError(f"{stage} of {name} ran")

    return lambda: breaking(refuse)


def test_another_setting_for_a_finished_sample_is_refused_with_both_values(batch: Batch) -> None:
    assert batch(LINES).code == 0
    done = batch([{**LINES[0], "prompt": "a lion"}, LINES[1]])
    assert done.code == 2
    assert "sample 'cat', prompt: got 'a lion'; expected 'a cat dancing'" in done.err


def test_a_bad_sample_is_tried_again_listed_and_stops_no_other(
    batch: Batch, breaking: Any, tmp_path: Path
) -> None:
    tried: list[str] = []

    def before(name: str, stage: str) -> None:
        tried.append(f"{name} {stage}")
        if name == "cat" and stage == "tsr1":
            raise RuntimeError("an unlucky number")

    breaking(before)
    done = batch(LINES, "--retries", "1")
    assert done.code == 1
    assert "failed: cat, tsr1: RuntimeError: an unlucky number" in done.err
    assert tried.count("cat tsr1") == 2
    assert tried.count("a-dog-5 tsr1") == 1
    assert {name: entry["status"] for name, entry in entries(tmp_path / "out").items()} == {
        "cat": "failed", "a-dog-5": "made",
    }  # fmt: skip


def test_an_interrupt_keeps_finished_samples_and_the_same_command_goes_on(
    batch: Batch, breaking: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def before(name: str, stage: str) -> None:
        if (name, stage) == ("a-dog-5", "tsr1"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        real = StageStep.run
        breaking(before)
        done = batch(LINES)
        patch.setattr(StageStep, "run", real)
        assert done.code == 130
        assert "1 of 2 samples are finished and kept" in done.err
        assert files_in(tmp_path / "out") == ["cat.mp4", NAME]
        done = batch(LINES)
    assert (done.code, done.out) == (0, f"wrote {tmp_path}/out/a-dog-5.mp4\n")


def test_a_full_disk_ends_the_batch_and_finished_samples_stay(
    batch: Batch, breaking: Any, tmp_path: Path
) -> None:
    def before(name: str, stage: str) -> None:
        if (name, stage) == ("a-dog-5", "tsr1"):
            from imagen_video.media.atomic import writing_error

            raise writing_error(
                tmp_path / "out" / "a-dog-5.mp4", OSError(errno.ENOSPC, "No space left on device")
            )

    breaking(before)
    done = batch(LINES)
    assert done.code == 1
    assert "No space left on device" in done.err
    assert "free some space and give the same command again" in done.err
    assert files_in(tmp_path / "out") == ["cat.mp4", NAME]


@pytest.mark.parametrize(
    ("lines", "words", "said"),
    [
        ([{"prompt": "a"}, {"prompt": "a"}], (), "line 2: got the sample 'a-0', which"),
        ([{"prompt": "a"}, {"prompt": "a", "class_id": 3}], (), "line 2, class_id"),
        ([{"prompt": "a"}], ("--until", "ssr9"), "ssr9"),
        ([{"prompt": "a"}], ("--steps", "base=0"), "--steps"),
        ([{"prompt": "a"}], ("--samples", "0"), "--samples"),
        ([{"prompt": "a"}], ("--pool", "base=2"), "--pool: got no --ray"),
        ([{"prompt": "a"}], ("--ray", "local", "--pool", "ssr3=2"), "--pool: got stage 'ssr3'"),
        ([{"prompt": "a", "seed": 2**63 - 1}], ("--samples", "2"), "seeds below 2^63"),
        ([{"prompt": "a"}], ("--memory", "100MB"), "memory"),
    ],
)
def test_mistakes_are_said_before_anything_is_made(
    batch: Batch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[Any],
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr(local, "first_row", None)
    done = batch(lines, *words)
    assert done.code in (1, 2)
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_would_be_done_and_does_nothing(batch: Batch, tmp_path: Path) -> None:
    done = batch(LINES, "--dry-run", "--ray", "auto", "--pool", "tsr1=3")
    assert done.code == 0
    assert "2 samples, 0 of them finished" in done.out
    assert "base: 4x6x10, 0.0029 MB to the next stage, 1 actor\n" in done.out
    assert "tsr1: 8x6x10, an MP4, 3 actors\n" in done.out
    assert not (tmp_path / "out").exists()


def test_a_plan_follows_from_a_manifest_and_a_simulation_agrees(
    batch: Batch, tmp_path: Path
) -> None:
    assert batch(LINES).code == 0
    words = ("--from", tmp_path / "out", "--gpus", "10", "--simulate")
    done = command("batch", "plan", *words)
    assert done.code == 0
    pool = next(line for line in done.out.splitlines() if line.startswith("--pool "))
    sizes = [int(part.split("=")[1]) for part in pool.removeprefix("--pool text=1,").split(",")]
    assert len(sizes) == 2
    assert 8 <= sum(sizes) <= 10
    off = done.out.split("simulated: ")[1].split("%")[0].split()[-1]
    assert abs(float(off)) < 3
    assert command("batch", "plan", "--from", tmp_path / "out", "--gpus", "1").code == 2


def test_a_plan_can_measure_for_itself(bundle: Path, one_encoder: None) -> None:
    words = ("--measure", "--bundle", bundle, "--until", "tsr1", "--gpus", "4")
    done = command("batch", "plan", *words)
    assert done.code == 0
    assert "--pool text=1,base=" in done.out
