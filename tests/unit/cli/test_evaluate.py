"""`imagen-video evaluate` as it is typed, on the tiny cascade and the small store."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imagen_video.cascade.bundle import save_bundle
from imagen_video.cli import evaluation
from imagen_video.cli.evaluate import run
from imagen_video.cli.main import main
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.errors import InputError
from imagen_video.evaluation.features.extractors import Extractor
from imagen_video.evaluation.material.prompt_sets import prompt_lines
from imagen_video.media.pictures import write_png
from imagen_video.media.video_writer import write_video
from imagen_video.models.unet import VideoUNet
from imagen_video.presets.tiny import tiny
from unit.corpus.conftest import write_store

QUICK = [
    "--until",
    "base",
    "--metrics",
    "ground",
    "time",
    "--reference",
    "2",
    "--precision",
    "fp32",
]


@dataclasses.dataclass(frozen=True)
class Place:
    bundle: Path
    corpus: Path
    prompts: Path
    work: Path

    def words(self, out: Path, *more: str) -> list[str]:
        words = ["--out", str(out), "--bundle", str(self.bundle), "--corpus", str(self.corpus)]
        words += ["--prompts", str(self.prompts), "--work", str(self.work), "--count", "3"]
        return [*words, *QUICK, *more]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    pytest.importorskip("cv2")
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("evaluate")
    torch.manual_seed(0)
    spec = dataclasses.replace(tiny(), stages=tiny().stages[:1])
    save_bundle(folder / "tiny", spec, {s.name: VideoUNet(s.unet) for s in spec.stages})
    corpus = write_store(folder / "store")
    text = prompt_lines(
        SpriteStore.open(corpus), name="own", version=1, split="all", seed=5, count=8
    )
    (folder / "own.jsonl").write_text(text, encoding="utf-8")
    return Place(folder / "tiny", corpus, folder / "own.jsonl", folder / "work")


@pytest.fixture(scope="module")
def made(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert run(place.words(out)) == 0
    return out


def report(out: Path) -> dict[str, Any]:
    return json.loads((out / "evaluation.json").read_text(encoding="utf-8"))


def test_it_writes_videos_numbers_and_a_plot(made: Path) -> None:
    assert sorted(p.name for p in (made / "videos").iterdir()) == [
        f"000{n}.{end}" for n in range(3) for end in ("json", "png")
    ]
    said = report(made)
    assert said["seeds"] == [0, 1, 2]
    assert said["until"] == "base"
    assert said["clip"] == {"frames": 4, "height": 6, "width": 10}
    assert {row["key"] for row in said["results"]} >= {"ground", "flicker", "drift"}
    assert all(row["real"]["count"] == 3 for row in said["results"])
    assert said["command"].startswith("imagen-video evaluate --out")
    assert said["judged_frames"] == 4
    machine = said["machine"]
    assert machine["processor"]
    assert machine["cores"] >= 1
    assert machine.keys() >= {"memory_gib", "system", "python", "date"}
    assert (made / "evaluation.png").read_bytes().startswith(b"\x89PNG")


def test_finished_videos_are_kept(
    place: Place, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (made / "videos" / "0001.json").unlink()  # as if it had been stopped in the middle of it
    before = report(made)
    made_now: list[int] = []
    make = evaluation._Source._make

    def counted(self: Any, index: int, memory: int | None) -> None:
        made_now.append(index)
        make(self, index, memory)

    monkeypatch.setattr(evaluation._Source, "_make", counted)
    assert run(place.words(made)) == 0
    assert made_now == [1]
    assert report(made)["results"] == before["results"]
    assert "ground colour" in capsys.readouterr().out


def test_a_folder_with_videos_of_other_settings_is_refused(place: Place, made: Path) -> None:
    with pytest.raises(InputError, match=r"other settings \(differs in seed\)"):
        run(place.words(made, "--seed", "5"))
    with pytest.raises(InputError, match=r"differs in steps"):
        run(place.words(made, "--steps", "3"))


def given(place: Place, made: Path, folder: Path) -> Path:
    """The made videos as `generate` would have written them: MP4 and JSON."""
    folder.mkdir()
    for path in (made / "videos").glob("*.json"):
        about = json.loads(path.read_text(encoding="utf-8"))
        (folder / path.name).write_text(json.dumps({**about, "height": 24, "width": 40}))
        frames = np.random.default_rng(about["seed"]).integers(0, 256, (4, 24, 40, 3), np.uint8)
        write_video(folder / f"{path.stem}.mp4", frames, about["fps"])
    return folder


def test_videos_made_earlier_are_judged_against_real_ones_with_the_same_losses(
    place: Place, made: Path, tmp_path: Path
) -> None:
    folder = given(place, made, tmp_path / "videos")
    assert run(place.words(tmp_path / "out", "--videos", str(folder))) == 0
    said = report(tmp_path / "out")
    assert said["videos"] == "given"
    assert said["codec"] is True
    assert said["clip"] == {"frames": 4, "height": 24, "width": 40}
    assert said["bundle_sha256"]


def test_given_videos_that_do_not_belong_together_are_refused(
    place: Place, made: Path, tmp_path: Path
) -> None:
    folder = given(place, made, tmp_path / "videos")
    words = place.words(tmp_path / "out", "--videos", str(folder))
    about = json.loads((folder / "0001.json").read_text())
    (folder / "0001.json").write_text(json.dumps({**about, "bundle_sha256": "other"}))
    with pytest.raises(InputError, match="videos with bundle_sha256"):
        run(words)
    (folder / "0001.json").write_text(json.dumps(about))
    for end in ("json", "mp4"):
        shutil.copy(folder / f"0001.{end}", folder / f"0009.{end}")
    with pytest.raises(InputError, match="of one prompt"):
        run(words)
    (folder / "0009.json").write_text("[")
    with pytest.raises(InputError, match=r"0009\.json"):
        run(words)
    (folder / "0009.json").unlink()
    (folder / "0001.mp4").unlink()
    with pytest.raises(InputError, match="no video of 1 of 3 prompts"):
        run(words)


def test_a_contact_sheet_whose_video_is_gone_is_no_clip(
    place: Place, made: Path, tmp_path: Path
) -> None:
    folder = given(place, made, tmp_path / "videos")
    (folder / "0001.mp4").unlink()
    write_png(folder / "0001.png", np.zeros((24, 40, 3), np.uint8))
    with pytest.raises(InputError, match=r"0001.png: got 1 frames .*; expected 4 frames"):
        run(place.words(tmp_path / "out", "--videos", str(folder)))


def test_videos_of_two_rates_are_refused_though_their_json_knows_the_prompt_only(
    place: Place, made: Path, tmp_path: Path
) -> None:
    folder = given(place, made, tmp_path / "videos")
    for path in folder.glob("*.json"):
        path.write_text(json.dumps({"prompt": json.loads(path.read_text())["prompt"]}))
    write_video(folder / "0002.mp4", np.zeros((4, 24, 40, 3), np.uint8), 12)
    with pytest.raises(InputError, match=r"0002.mp4: got 12 frames per second"):
        run(place.words(tmp_path / "out", "--videos", str(folder)))


def test_the_prompts_can_be_printed_for_other_generators(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--list-prompts", "--prompts", "held-out", "--count", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "on a pink background, a still 3d render of a cyclist coming closer"
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--metrics", "fvd"], "no --i3d given"),
        (["--metrics", "quality"], "quality"),
        (["--i3d", "nowhere/at/all.safetensors"], "--i3d"),
        (["--clip", "weights.pt"], "--clip"),
        (["--count", "99"], "--count"),
        (["--kinds", "song"], "--kinds"),
        (["--prompts", "nothing"], "--prompts"),
        (["--reference", "1"], "--reference"),
        (["--seed", "-1"], "--seed"),
        (["--memory", "lots"], "--memory"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_made(
    place: Place, tmp_path: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *place.words(tmp_path / "out"), *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given_videos", [False, True])
def test_a_distance_of_too_few_frames_is_refused_before_anything_is_made(
    place: Place,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given_videos: bool,
) -> None:
    def loaded(name: str, source: str, *, device: torch.device) -> Extractor:
        return Extractor(name=name, settings={}, features=never, width=7)

    def never(frames: np.ndarray) -> torch.Tensor:
        raise AssertionError("nothing is looked at")

    monkeypatch.setattr(evaluation, "load_extractor", loaded)
    words = place.words(tmp_path / "out", "--inception", "any", "--reference", "4")
    words[words.index("ground")] = "fid"
    if given_videos:
        words += ["--videos", str(given(place, made, tmp_path / "videos"))]
    # 16 frames a clip, of which these have 4, would be enough
    with pytest.raises(InputError, match=r"3 clips of 4 frames for 7 dimensions.* at least 4"):
        run(words)
    assert not (tmp_path / "out").exists()


def test_a_place_for_the_results_is_needed() -> None:
    with pytest.raises(InputError, match="--out"):
        run(["--count", "3"])
