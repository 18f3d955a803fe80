"""A folder of clips becomes a video: the commands of the worked example, at the smallest size."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from imagen_video.cli.generate import run
from imagen_video.data.batches.shard_batches import ShardBatches
from imagen_video.errors import InputError
from imagen_video.media.video_io import read_video
from unit.examples.example_files import ROOT, example

RINGS = example("render_rings")
EXAMPLE = example("number_cascade")
VERBS = ("data", "train", "export", "generate")


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the example's own commands one after another, but for numbers of clips and steps."""
    place = tmp_path_factory.mktemp("rings")
    clips = place / "clips"
    clips.mkdir()
    rows = ["file_name,ejection"]
    for number, ejection in enumerate((0.2, 0.4, 0.6, 0.8)):
        np.save(clips / f"{number}.npy", RINGS.render(ejection, np.random.default_rng(number)))
        rows.append(f"{number}.npy,{ejection}")
    (clips / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    for _, verb, *words in (c for c in EXAMPLE.commands() if c[0] == "imagen-video"):
        assert verb in VERBS
        assert import_module(f"imagen_video.cli.{verb}").run(_small(verb, words, place)) == 0
    return place


def _small(verb: str, words: list[str], place: Path) -> list[str]:
    """Put the files elsewhere, and take two updates a stage and one sampling step."""
    for folder in (EXAMPLE.CLIPS, EXAMPLE.SHARDS, EXAMPLE.BUNDLE, EXAMPLE.VIDEOS):
        words = [word.replace(folder, str(place / Path(folder).name)) for word in words]
    words = [word.replace(EXAMPLE.RUNS, str(place / "runs")) for word in words]
    words = [word.replace(EXAMPLE.PRESET, f"{ROOT}/{EXAMPLE.PRESET}") for word in words]
    if verb == "data":
        words += ["--workers", "0"]
        words += ["--journal", str(place / "journal.jsonl")] if words[0] == "check" else []
    if verb == "train":
        words[words.index("--steps") + 1] = "2"
        words[words.index("--clips") + 1] = "2"
        words += ["--sample-minutes", "0"]
    return [*words, "--steps", "1"] if verb == "generate" else words


def test_every_number_gets_its_video(walked: Path) -> None:
    videos = sorted((walked / "videos").glob("*.mp4"))
    assert [path.name for path in videos] == [f"vector-0-{n}-0.mp4" for n in (2, 5, 8)]
    for path, number in zip(videos, (0.2, 0.5, 0.8), strict=True):
        frames, fps = read_video(path)
        assert frames.shape == (32, 64, 64, 3)
        assert fps == 16
        assert json.loads(path.with_suffix(".json").read_text("utf-8"))["vector"] == [number]


def test_the_shards_hold_what_each_stage_trains_on(walked: Path) -> None:
    cascade = EXAMPLE.cascade()
    for stage in cascade.stages:
        batch = ShardBatches.open(
            walked / "shards", cascade, stage.name, clips=4, images=1, image_fraction=0.0
        ).batch(0)
        frames = stage.train_frames or stage.output.frames
        assert batch.video.shape == (4, frames, 1, stage.output.height, stage.output.width)
        assert batch.vector is not None
        assert sorted(batch.vector[:, 0].tolist()) == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_a_number_that_is_no_number_is_refused_before_anything_is_made(walked: Path) -> None:
    words = ["--bundle", str(walked / "bundle"), "--out", str(walked / "none")]
    for more, said in (
        (["--vector", "0.2,0.4"], "1 finite numbers"),
        (["--vector", "high"], "--vector"),
        (["--class-id", "3"], "no stage has num_classes"),
        (["a ring", "--vector", "0.2"], "hears no text"),
        (["--vector", "0.1", "0.2", "--class-id", "1", "2", "3"], "2 of them for 3 videos"),
    ):
        with pytest.raises(InputError, match=said):
            run([*words, *more])
    assert not (walked / "none").exists()
