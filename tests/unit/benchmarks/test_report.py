"""What the benchmarks compute themselves: exponents, the one table, when a peer was overtaken."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from imagen_video.presets import preset

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


def result(folder: Path, name: str, load: float | None, **line: Any) -> None:
    about = {**REPORT.machine(), "busy_at_start": load}
    headline = REPORT.headline(line.pop("what"), 2.0, "s", **line)
    (folder / f"{name}.json").write_text(json.dumps({"machine": about, "headline": [headline]}))


def test_the_table_joins_all_results_and_names_those_of_a_busy_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result(tmp_path, "idle", 0.05, what="a step", ratio=3.5, against="a peer", error=0.25)
    result(tmp_path, "busy", 0.99, what="an import")  # one of two cores taken is not idle
    result(tmp_path, "unknown", None, what="a third")
    monkeypatch.setattr(sys, "argv", ["table.py", "--bench", str(tmp_path)])
    TABLE.main()
    said = capsys.readouterr().out
    cores = REPORT.machine()["cores"]
    rows = {name: cells(said, name) for name in ("idle", "busy", "unknown")}
    assert rows["idle"] == ["a step", "2", "0.25", "s", "3.5", "a peer", ""]
    assert rows["busy"][-1] == f"0.99 of {cores} cores"
    assert rows["unknown"][-1] == "not looked for"
    notice = said.rstrip().rpartition("beside: ")[2]
    assert notice == f"busy (0.99 of {cores} cores), unknown (not looked for)"


def cells(said: str, name: str) -> list[str]:
    """Return what a line of the table says after the benchmark's name."""
    row = next(line for line in said.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in row.split("|")[2:-1]]


def test_the_table_of_quick_runs_is_of_what_they_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result(tmp_path, "whole", 0.0, what="a step")
    (tmp_path / "quick").mkdir()
    result(tmp_path / "quick", "tried", 0.0, what="a step")
    monkeypatch.setattr(sys, "argv", ["table.py", "--bench", str(tmp_path), "--quick"])
    TABLE.main()
    said = capsys.readouterr().out
    assert "| tried" in said
    assert "whole" not in said
    assert "mean nothing" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "networks.json"),
        (["--quick"], "quick/networks.json"),
        (["--out", "some/mine.json"], "some/mine.json"),
        (["--quick", "--out", "some/mine.json"], "some/quick/mine.json"),
    ],
)
def test_a_quick_run_leaves_results_alone(
    words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(REPORT, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(REPORT, "BENCH", Path())
    assert REPORT.parser("What.", "networks").parse_args(words).out == Path(expected)


SCRIPTS = sorted(
    path.stem for path in FOLDER.glob("*.py") if path.stem != "table" and path.stem[0] != "_"
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_benchmark_has_the_common_options(name: str) -> None:
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert f'parser(__doc__, "{name}")' in source
    assert "ArgumentParser" not in source


@pytest.mark.parametrize("name", ["networks", "quality_per_minute", "sampling", "scaling"])
def test_a_benchmark_with_peers_takes_the_words_of_bench_args(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make bench-full BENCH_ARGS=...` hands the same words to all of them."""

    class Parsed(Exception):
        """The options were read; nothing was measured."""

    parse = REPORT._Parser.parse_args

    def stop(self: Any) -> None:
        args = parse(self, ["--quick", "--without-peers", "--peers=p", "--pip-arg=-v"])
        raise Parsed(args.pip_arg)

    module = script(name)
    monkeypatch.setattr(REPORT, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(REPORT._Parser, "parse_args", stop)
    with pytest.raises(Parsed, match="-v"):
        module.main()


def test_make_hands_the_quick_option_on_to_the_table() -> None:
    asked = ["make", "--dry-run", "bench-full", "BENCH_ARGS=--quick --without-peers"]
    folder = FOLDER.parent
    said = subprocess.run(asked, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
    tables = [line for line in said.splitlines() if "benchmarks/table.py" in line]
    assert [line.split()[-1] for line in tables] == ["--quick", "--quick"]
    assert all("--without-peers" not in line for line in tables)


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


def test_without_the_peer_its_minutes_are_not_compared() -> None:
    module = script("quality_per_minute")
    curve = [{"seconds": 30.0, "loss": 0.5}, {"seconds": 60.0, "loss": 0.2}]
    (alone,) = module.headlines({"imagen-video": curve})
    assert (alone["value"], alone["ratio"]) == (0.2, None)
    peer = [{"seconds": 30.0, "loss": 0.6}, {"seconds": 60.0, "loss": 0.4}]
    error, time = module.headlines({"imagen-video": curve, "imagen-pytorch": peer})
    assert (error["ratio"], time["value"]) == (2.0, 60.0)


def test_a_share_of_clips_has_a_standard_error() -> None:
    quality = script("quality")
    found = quality.Share.of([True, False, True, False, True])
    assert found.value == pytest.approx(0.6)
    assert found.error == pytest.approx((0.6 * 0.4 / 4) ** 0.5)
    certain = quality.Share.of([True, True])
    assert (certain.value, certain.error) == (1.0, None)
    (row,) = quality.compared({"motion": found}, {"motion": certain})
    assert (row["+-"], row["+- of it"], row["made / real"]) == (found.error, None, found.value)


@pytest.mark.parametrize("real_base", [False, True])
def test_the_base_is_replaced_by_real_renders_at_its_frames(
    real_base: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    quality, asked = script("quality"), []

    def drawn(scene: Any, store: Any, times: list[int], height: int, width: int) -> torch.Tensor:
        asked.append((scene.caption, store, tuple(times), height, width))
        return torch.full((1, len(times), 3, height, width), float(len(asked)))

    monkeypatch.setattr(quality, "real_video", drawn)
    pipeline = SimpleNamespace(spec=preset("emoji"))
    scenes = [SimpleNamespace(caption=caption) for caption in ("a cat", "a dog")]
    args = SimpleNamespace(until="ssr1", real_base=real_base, store="store")
    request = quality.request_of(pipeline, scenes, [3, 4], args)
    assert (request.prompts, request.seeds, request.until) == (("a cat", "a dog"), (3, 4), "ssr1")
    if real_base:
        every_eighth = tuple(range(0, 128, 8))
        assert asked == [(caption, "store", every_eighth, 24, 40) for caption in request.prompts]
        assert request.start == "tsr1"
        assert request.video.shape == (2, 16, 3, 24, 40)
        assert request.video[:, 0, 0, 0, 0].tolist() == [1, 2]
    else:
        assert asked == []
        assert (request.start, request.video) == (None, None)


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
