"""`imagen-video generate` from the words on the command line to the files, with a tiny cascade.

The weights are random and the text encoder is the real one.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from imagen_video import __version__
from imagen_video.cascade import memory
from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.cascade.distilled import DistilledSpec
from imagen_video.media.pictures import read_image, write_png
from imagen_video.media.video_io import read_metadata, read_video, write_video
from imagen_video.presets.tiny import tiny
from integration.command_line import PROMPT, SLUG, Done, Generate, command, files_in, frames_of


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
    words = ("--until", "ssr1", "--steps", "2,base=3", "--guidance-weight", "0", "--json")
    stages = generate(PROMPT, "--out", tmp_path, *words).report["stages"]
    assert [stage["steps"] for stage in stages] == [3, 2, 2]
    assert [stage["guidance_weight"] for stage in stages] == [0.0, 1.0, 1.0]


def test_a_number_of_steps_for_all_stages_passes_a_distilled_one_by(
    bundle: Path, one_encoder: None, tmp_path: Path
) -> None:
    opened = Bundle.open(bundle)
    base, tsr1, *others = opened.spec.stages
    sampling = dataclasses.replace(tsr1.sampling, guidance_weight=0.0)
    made_for = DistilledSpec(sampler="few_step", steps=2)
    student = dataclasses.replace(tsr1, sampling=sampling, distilled=made_for)
    spec = dataclasses.replace(opened.spec, stages=(base, student, *others))
    networks = {stage.name: opened.network(stage.name) for stage in (base, tsr1)}
    save_bundle(tmp_path / "student", spec, networks, provenance={})
    words = (PROMPT, "--bundle", tmp_path / "student", "--until", "tsr1", "--out", tmp_path / "out")
    done = command("generate", *words, "--steps", "3", "--json")
    assert [stage["steps"] for stage in done.report["stages"]] == [3, 2]
    assert done.err.count("imagen-video: warning: distilled stages keep the steps") == 1
    assert done.err.count("tsr1: 2") == 1
    refused = command("generate", *words, "--steps", "tsr1=3")
    assert refused.code == 2
    assert "what it was distilled for" in refused.err


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


def test_tiles_under_a_small_memory_give_the_same_video(
    generate: Generate, whole: Done, tmp_path: Path
) -> None:
    source = Path(whole.report["video"]).with_name(f"{SLUG}-7-tsr3.mp4")
    words = (PROMPT, "--start-stage", "ssr3", "--from-video", source, "--json")
    free = generate(*words, "--memory", "none", "--out", tmp_path / "a").report
    memory.give_back_freed()
    held = max(memory.resident_bytes(), memory.PROCESS) + memory.RESERVE
    bound = generate(*words, "--memory", f"{held + (160 << 20)}B", "--out", tmp_path / "b").report
    assert free["stages"][0]["tiles"] == 1
    assert bound["stages"][0]["tiles"] > 1
    apart = frames_of(free["video"]).astype(int) - frames_of(bound["video"])
    assert np.abs(apart).mean() < 0.05


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
