"""`imagen-video corpus`: the options reach the builder and the renderer."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagen_video.cli.main import main
from imagen_video.corpus import build
from imagen_video.media.pictures import read_image
from unit.corpus.conftest import write_store


def test_build_passes_its_folders_on_and_sums_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    seen: list[tuple[Path, Path | None]] = []

    def build_corpus(out: Path, packages: Path | None) -> build.Report:
        seen.append((out, packages))
        return build.Report(
            subjects=3,
            sprites={"flat": 2, "animation": 3},
            frames=9,
            bytes=10**9,
            seconds=1.0,
            licences={"MIT": 5},
        )

    monkeypatch.setattr(build, "build_corpus", build_corpus)
    assert main(["corpus", "build", "--out", str(tmp_path), "--packages", "there"]) == 0
    assert main(["corpus", "build"]) == 0
    assert seen == [(tmp_path, Path("there")), (Path("build/corpus"), None)]
    assert "3 subjects, 3 animation, 2 flat, 9 frames, 1.00 GB" in capsys.readouterr().out


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of made-up subjects."""
    return write_store(tmp_path_factory.mktemp("corpus") / "store")


@pytest.mark.parametrize("more", [[], ["--held-out"], ["--seed", "5"]], ids=str)
def test_a_sheet_has_one_row_of_frames_a_scene(
    more: list[str], store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2")
    words = ["--out", str(tmp_path / "a.png"), "--corpus", str(store), "--count", "2"]
    assert main(["corpus", "sheet", *words, "--height", "24", "--width", "40", *more]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'a.png'}\n"
    height, width, _ = read_image(tmp_path / "a.png").shape
    assert width == 4 + 8 * (40 + 4)
    assert height > 2 * 24


def test_held_out_scenes_are_others_than_those_of_training(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    sheets = []
    for more in ([], ["--held-out"]):
        words = ["--out", str(tmp_path / "a.png"), "--corpus", str(store), "--count", "1", *more]
        assert main(["corpus", "sheet", *words]) == 0
        sheets.append((tmp_path / "a.png").read_bytes())
    assert sheets[0] != sheets[1]


def test_a_size_out_of_range_or_another_suffix_is_a_mistake(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["corpus", "sheet", "--out", str(tmp_path / "a.png"), "--count", "0"]) == 2
    assert "--count" in capsys.readouterr().err
    assert main(["corpus", "sheet", "--out", str(tmp_path / "a.jpg")]) == 2
    assert ".png" in capsys.readouterr().err


def test_a_store_that_is_not_there_is_a_mistake(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--out", str(tmp_path / "a.png"), "--corpus", str(tmp_path / "none")]
    assert main(["corpus", "sheet", *words]) == 2
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err.startswith("imagen-video: error: ")
