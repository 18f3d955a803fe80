"""`imagen-video generate` from the words on the command line to the files, with a tiny cascade.

The weights are random and the text encoder is the real one. Nothing is mocked but what must fail.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imagen_video import __version__
from imagen_video.cascade import memory
from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.cli.main import main
from imagen_video.cli.progress import ProgressDisplay
from imagen_video.media.pictures import read_image, write_png
from imagen_video.media.video_io import read_metadata, read_video, write_video
from imagen_video.models.unet import VideoUNet
from imagen_video.presets.tiny import tiny
from imagen_video.text import registry

PROMPT = "a panda dancing on a blue background"
SLUG = "a-panda-dancing-on-a-blue-background"


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.out.splitlines()[-1])


def command(*words: str | Path) -> Done:
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        code = main([str(word) for word in words])
    return Done(code, out.getvalue(), err.getvalue())


def frames_of(path: str | Path) -> np.ndarray:
    return read_video(path)[0]


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny cascade with weights that do something, also where training starts at zero."""
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    generator = torch.Generator().manual_seed(0)
    networks = {}
    for stage in tiny().stages:
        network = VideoUNet(stage.unet)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        networks[stage.name] = network
    save_bundle(path, tiny(), networks, provenance={"data": "none"})
    return path


@pytest.fixture(scope="session")
def encoder() -> Any:
    return registry.build_text_encoder(dict(tiny().text_encoder or {}))


@pytest.fixture(autouse=True)
def one_encoder(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the text encoder once for all tests."""
    monkeypatch.setattr(registry, "build_text_encoder", lambda identity: encoder)


Generate = Callable[..., Done]


@pytest.fixture
def generate(bundle: Path) -> Generate:
    """Run `generate` with the tiny bundle in fp32."""

    def run(*words: str | Path) -> Done:
        return command("generate", "--bundle", bundle, "--precision", "fp32", *words)

    return run


@pytest.fixture(scope="session")
def whole(bundle: Path, encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """All seven stages once."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "build_text_encoder", lambda identity: encoder)
        words = ("--out", out, "--seed", "7", "--bundle", bundle, "--keep-stages", "--json")
        yield command("generate", PROMPT, *words)


@pytest.fixture
def no_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if anything is computed."""

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a stage ran")

    monkeypatch.setattr("imagen_video.cascade.pipeline.sample_stage", refuse)


@pytest.fixture
def interrupt(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], contextlib.AbstractContextManager]:
    """Press Ctrl-C while a stage runs."""

    @contextlib.contextmanager
    def during(stage: str) -> Iterator[None]:
        def on_progress(self: ProgressDisplay, progress: Any) -> None:
            if progress.stage == stage:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(ProgressDisplay, "on_progress", on_progress)
            yield

    return during


def test_all_seven_stages_give_a_video_a_sheet_and_a_report(whole: Done) -> None:
    assert whole.code == 0
    report = whole.report
    video, fps = read_video(report["video"])
    assert video.shape == (32, 192, 320, 3)
    assert fps == 24
    assert video.std() > 1
    assert read_image(Path(report["sheet"])).shape[1] >= 4 * 320
    folder = Path(report["video"]).parent
    assert report["video"] == str(folder / f"{SLUG}-7.mp4")
    assert report["sheet"] == str(folder / f"{SLUG}-7.png")
    assert json.loads((folder / f"{SLUG}-7.json").read_text("utf-8")) == report


def test_the_printed_report_has_what_scripts_rely_on(whole: Done, bundle: Path) -> None:
    report = whole.report
    assert report["prompt"] == PROMPT
    assert report["seed"] == 7
    assert report["bundle"] == str(bundle)
    assert (report["frames"], report["height"], report["width"]) == (32, 192, 320)
    assert report["fps"] == 24
    assert report["seconds"] > 0
    assert report["peak_rss_bytes"] > 50e6
    assert report["precision"] in ("fp32", "bf16")
    names = [stage["name"] for stage in report["stages"]]
    assert names == ["base", "tsr1", "ssr1", "ssr2", "tsr2", "tsr3", "ssr3"]
    base = report["stages"][0]
    assert (base["steps"], base["sampler"], base["guidance_weight"]) == (4, "ancestral", 15.0)
    assert all(stage["seconds"] > 0 for stage in report["stages"])
    assert report["request"]["bundle_sha256"] == Bundle.open(bundle).digest


def test_video_and_sheet_say_that_a_model_made_them_and_how(whole: Done, bundle: Path) -> None:
    for path in (whole.report["video"], whole.report["sheet"]):
        noted = read_metadata(path)
        assert "generative model" in noted["description"]
        assert (noted["prompt"], noted["seed"]) == (PROMPT, 7)
        assert noted["bundle_sha256"] == Bundle.open(bundle).digest
        assert noted["version"] == __version__


def test_kept_stages_are_videos_of_their_own_size(whole: Done) -> None:
    folder = Path(whole.report["video"]).parent
    for stage in tiny().stages:
        video, fps = read_video(folder / f"{SLUG}-7-{stage.name}.mp4")
        clip = stage.output
        assert (len(video), *video.shape[1:3]) == (clip.frames, clip.height, clip.width)
        assert fps == clip.fps


def test_progress_goes_to_stderr_stage_by_stage(whole: Done) -> None:
    assert len(whole.out.splitlines()) == 1
    lines = [line for line in whole.err.splitlines() if "imagen-video: " in line]
    assert [line.split()[1] for line in lines][:2] == ["base:", "tsr1:"]


def test_kept_stages_are_not_unfinished_work(whole: Done) -> None:
    done = command("generate", "--resume", Path(whole.report["video"]).parent)
    assert done.code == 2
    assert "no unfinished video" in done.err


def test_a_seed_repeats_itself_and_another_one_differs(generate: Generate, tmp_path: Path) -> None:
    videos = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        done = generate(PROMPT, "--out", tmp_path / folder, "--seed", str(seed), "--until", "tsr1")
        assert done.code == 0
        videos.append(frames_of(tmp_path / folder / f"{SLUG}-{seed}.mp4"))
    assert np.array_equal(videos[0], videos[1])
    assert not np.array_equal(videos[0], videos[2])


def test_without_json_the_name_of_the_video_is_printed(generate: Generate, tmp_path: Path) -> None:
    done = generate(PROMPT, "--out", tmp_path, "--until", "base")
    assert done.out == f"wrote {tmp_path / f'{SLUG}-0.mp4'}\n"
    assert files_in(tmp_path) == [f"{SLUG}-0.json", f"{SLUG}-0.mp4", f"{SLUG}-0.png"]
    assert not (tmp_path / ".work").exists()


def test_steps_and_weight_go_to_the_stages_they_name(generate: Generate, tmp_path: Path) -> None:
    words = ("--until", "ssr1", "--steps", "1,base=3", "--guidance-weight", "0", "--json")
    stages = generate(PROMPT, "--out", tmp_path, *words).report["stages"]
    assert [stage["steps"] for stage in stages] == [3, 1, 1]
    assert [stage["guidance_weight"] for stage in stages] == [0.0, 1.0, 1.0]


def test_another_size_is_the_size_of_the_last_stage(generate: Generate, tmp_path: Path) -> None:
    words = ("--until", "tsr1", "--num-frames", "4", "--height", "12", "--width", "8", "--json")
    report = generate(PROMPT, "--out", tmp_path, *words).report
    assert frames_of(report["video"]).shape == (4, 12, 8, 3)


def test_a_given_video_is_raised_by_the_later_stages(generate: Generate, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clip = np.kron(rng.integers(0, 255, (9, 4, 5, 3), np.uint8), np.ones((1, 9, 16, 1), np.uint8))
    write_video(tmp_path / "clip.mp4", clip, fps=3)
    words = ("--start-stage", "tsr1", "--until", "ssr1", "--from-video", tmp_path / "clip.mp4")
    report = generate(PROMPT, "--out", tmp_path / "out", *words, "--json").report
    assert [stage["name"] for stage in report["stages"]] == ["tsr1", "ssr1"]
    assert frames_of(report["video"]).shape == (8, 12, 20, 3)
    assert report["request"]["from_video_sha256"]


def test_a_given_picture_changes_the_video(generate: Generate, tmp_path: Path) -> None:
    write_png(tmp_path / "red.png", np.full((30, 40, 3), (255, 0, 0), np.uint8))
    without = generate(PROMPT, "--out", tmp_path / "a", "--until", "base", "--json").report
    words = ("--until", "base", "--json", "--image", tmp_path / "red.png")
    given = generate(PROMPT, "--out", tmp_path / "b", *words).report
    assert not np.array_equal(frames_of(without["video"]), frames_of(given["video"]))


def test_prompts_come_from_the_command_line_and_from_a_file(
    generate: Generate, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text("# two more\na cat\n\na dog\n", encoding="utf-8")
    words = ("--prompts", tmp_path / "list.txt", "--until", "base", "--json")
    done = generate(PROMPT, "--out", tmp_path / "out", *words)
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["prompt"] for line in lines] == [PROMPT, "a cat", "a dog"]
    videos = [frames_of(line["video"]) for line in lines]
    assert not np.array_equal(videos[0], videos[1])


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
    done = generate(PROMPT, "--until", "tsr1", "--out", tmp_path, "--steps", "1")
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

    monkeypatch.setattr("imagen_video.cascade.pipeline.sample_stage", broken)
    assert generate(PROMPT, "--until", "tsr1", "--out", tmp_path).code == 1
    assert not list(tmp_path.iterdir())


def test_tiles_under_a_small_memory_give_the_same_video(
    generate: Generate, whole: Done, tmp_path: Path
) -> None:
    source = Path(whole.report["video"]).with_name(f"{SLUG}-7-tsr3.mp4")
    words = (PROMPT, "--start-stage", "ssr3", "--from-video", source, "--json")
    free = generate(*words, "--memory", "none", "--out", tmp_path / "a").report
    held = max(memory.resident_bytes(), memory.PROCESS) + memory.RESERVE
    bound = generate(*words, "--memory", f"{held + (160 << 20)}B", "--out", tmp_path / "b").report
    assert free["stages"][0]["tiles"] == 1
    assert bound["stages"][0]["tiles"] > 1
    apart = frames_of(free["video"]).astype(int) - frames_of(bound["video"])
    assert np.abs(apart).mean() < 0.05


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
    import shutil

    assert command("generate", PROMPT, "--out", tmp_path / "out", "--bundle", "nope").code == 2
    shutil.copytree(bundle, tmp_path / "cut")
    weights = tmp_path / "cut" / "ssr3" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    done = command("generate", PROMPT, "--out", tmp_path / "out", "--bundle", tmp_path / "cut")
    assert done.code == 2
    assert "ssr3" in done.err
    assert not (tmp_path / "out").exists()


def test_a_prompt_that_is_too_long_is_cut_with_a_warning(
    generate: Generate, tmp_path: Path
) -> None:
    done = generate("a panda " * 50, "--until", "base", "--out", tmp_path, "--steps", "1")
    assert done.code == 0
    assert "imagen-video: warning: the prompt is longer than 64 tokens" in done.err


def test_help_names_the_options_and_loads_no_torch() -> None:
    code = (
        "import sys; from imagen_video.cli.main import main\n"
        "try: main(['generate', '--help'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    for option in ("--out DIR", "--resume DIR", "--steps", "--keep-stages", "--from-video FILE"):
        assert option in done.stdout
