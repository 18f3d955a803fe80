"""What the benchmarks compute themselves: exponents, the one table, when a peer was overtaken."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


def script(name: str) -> ModuleType:
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    return importlib.import_module(name)


REPORT, TABLE = script("_report"), script("table")


def test_an_exponent_is_found() -> None:
    sizes = [1.0, 2.0, 5.0, 8.0]
    assert REPORT.exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)


def test_one_size_has_no_exponent() -> None:
    with pytest.raises(ValueError, match="two different sizes"):
        REPORT.exponent([4.0, 4.0], [1.0, 2.0])


def result(folder: Path, name: str, load: float, **line: Any) -> None:
    about = {**REPORT.machine(), "busy_at_start": load}
    headline = REPORT.headline(line.pop("what"), 2.0, "s", **line)
    (folder / f"{name}.json").write_text(json.dumps({"machine": about, "headline": [headline]}))


def test_the_table_joins_all_results_and_names_those_of_a_busy_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result(tmp_path, "idle", 0.0, what="a step", ratio=3.5, against="a peer")
    result(tmp_path, "busy", 99.0, what="an import")
    monkeypatch.setattr(sys, "argv", ["table.py", "--bench", str(tmp_path)])
    TABLE.main()
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if line.startswith("| idle"))
    assert [cell.strip() for cell in row.split("|")[2:-1]] == ["a step", "2", "s", "3.5", "a peer"]
    assert said.rstrip().endswith("other work ran beside: busy")


@pytest.mark.parametrize("words", [["--quick"], ["--quick", "--out", "mine.json"], []])
def test_a_quick_run_leaves_results_alone(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(REPORT, "LOOK_SECONDS", 0.0)
    out = REPORT.parser("What.", "networks").parse_args(words).out
    expected = REPORT.BENCH / ("quick" if words else "") / "networks.json"
    assert out == (Path("mine.json") if "--out" in words else expected)


def test_other_work_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 ticks on the whole machine 75 were idle."""
    ticks = iter([(1000, 400), (1300, 475)])
    monkeypatch.setattr(REPORT, "_ticks", lambda: next(ticks))
    cores = len(os.sched_getaffinity(0))
    assert REPORT.busy_cores(0.0) == pytest.approx(0.75 * cores)


def test_without_results_the_table_says_how_to_get_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["table.py", "--bench", str(tmp_path)])
    with pytest.raises(SystemExit, match="make bench"):
        TABLE.main()


def test_the_time_to_a_loss_is_that_of_the_first_turn_below_it() -> None:
    curve = [{"seconds": 30.0, "loss": 0.5}, {"seconds": 60.0, "loss": 0.2}]
    seconds_to = script("quality_per_minute").seconds_to
    assert seconds_to(curve, 0.4) == 60.0
    assert seconds_to(curve, 0.1) is None


def test_what_an_install_brings_is_counted_once_and_without_extras() -> None:
    found, absent = script("_installed").distributions("imagen-video")
    assert {"imagen-video", "torch", "numpy"} <= found
    assert not {"gradio", "ruff", "pytest"} & found
    assert not absent


def test_what_an_install_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("_installed")
    needs = {"peer": ["torch>=2", "kornia"], "torch": []}

    def requires(name: str) -> list[str]:
        if name not in needs:
            raise module.metadata.PackageNotFoundError(name)
        return needs[name]

    monkeypatch.setattr(module.metadata, "requires", requires)
    monkeypatch.setattr(module, "megabytes", lambda name: 10.0 if name == "torch" else 1.0)
    assert module.installed("peer") == {
        "MB": 11.0,
        "MB without torch": 1.0,
        "distributions": 2,
        "not installed": ["kornia"],
        "sizes": {"torch": 10.0, "peer": 1.0},
    }
