from __future__ import annotations

from pathlib import Path

import pytest

from imagen_video.cascade.bundle import Bundle
from imagen_video.cli.export import run, runs_of
from imagen_video.errors import InputError
from imagen_video.presets import PRESETS
from unit.training import small_runs
from unit.training.small_runs import SPEC, config_of


@pytest.fixture
def small_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "small", lambda: SPEC)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    small_runs.run(tmp_path / "runs" / "base", config_of(steps=2))
    return tmp_path / "runs"


@pytest.mark.usefixtures("small_preset")
def test_runs_become_a_bundle_that_can_be_opened(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--preset", "small", "--run-dir", str(trained), "--out", str(tmp_path / "out")]
    assert run([*words, "--note", "squares, nobody's"]) == 0
    bundle = Bundle.open(tmp_path / "out")
    assert bundle.spec == SPEC
    assert bundle.has_weights("base")
    assert not bundle.has_weights("tsr1")
    assert bundle.provenance["note"] == "squares, nobody's"
    said = capsys.readouterr().out
    assert "base: 2 updates" in said
    assert "tsr1: no run: no weights" in said


def test_a_stage_and_its_folder_can_be_named(trained: Path) -> None:
    assert runs_of([f"base={trained}/base"], SPEC) == {"base": trained / "base"}
    assert runs_of([str(trained)], SPEC) == {"base": trained / "base"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope={}/base"], "'nope'"),
        (["base={}/none"], "no checkpoints there"),
        (["base={}/base", "{}"], "base twice"),
        (["{}/base"], "no run of a stage in it"),
    ],
)
def test_folders_that_hold_no_run_are_refused(words: list[str], said: str, trained: Path) -> None:
    with pytest.raises(InputError, match=said):
        runs_of([word.format(trained) for word in words], SPEC)
