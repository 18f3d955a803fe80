"""Seconds of stages, from what has been run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imagen_video.distributed.manifest import Manifest
from imagen_video.distributed.measured import read_seconds, spread_of, typical
from imagen_video.errors import InputError
from unit.distributed.batch_samples import failed, made, sample


def generated(path: Path, **seconds: float) -> Path:
    stages = [{"name": name, "seconds": value, "resumed": False} for name, value in seconds.items()]
    path.write_text(json.dumps({"stages": stages}), encoding="utf-8")
    return path


def test_a_manifest_and_reports_of_generate_are_read_together(tmp_path: Path) -> None:
    with Manifest(tmp_path).opened() as manifest:
        manifest.add(sample("a"), made(tmp_path, "a"))
        manifest.add(sample("b"), failed("b"))
    generated(tmp_path / "c.json", base=3.0)
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    assert read_seconds([tmp_path]) == {"base": [1.0, 3.0]}


def test_runs_of_different_stages_are_refused(tmp_path: Path) -> None:
    files = [generated(tmp_path / "a.json", base=1.0), generated(tmp_path / "b.json", tsr1=1.0)]
    with pytest.raises(InputError, match="stages tsr1 beside base"):
        read_seconds(files)


@pytest.mark.parametrize("text", ["{", "[]", '{"stages": []}', '{"stages": [{"name": "base"}]}'])
def test_a_file_that_says_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="no stages with seconds"):
        read_seconds([tmp_path / "a.json"])


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        read_seconds([tmp_path])
    with pytest.raises(InputError, match="nothing there"):
        read_seconds([tmp_path / "missing"])


def test_a_stage_taken_from_an_earlier_run_tells_no_time(tmp_path: Path) -> None:
    stages = [{"name": "base", "seconds": 0.01, "resumed": True}]
    (tmp_path / "a.json").write_text(json.dumps({"stages": stages}), encoding="utf-8")
    with pytest.raises(InputError, match="no finished run"):
        read_seconds([tmp_path])


def test_a_slow_first_sample_changes_neither_the_time_nor_the_spread() -> None:
    values = [60.0, *(10.0 + 0.1 * i for i in range(-6, 7))]
    assert typical(values) == pytest.approx(10.05)
    assert spread_of(values, 0.5) < 0.1
    assert spread_of(values[:3], 0.5) == 0.5
