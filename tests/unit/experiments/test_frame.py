from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from imagen_video.cascade.bundle import save_bundle
from imagen_video.models.unet import VideoUNet
from imagen_video.presets.tiny import tiny
from unit.experiments.scripts import script

FRAME, PAGE = script("_frame"), script("_page")


class Notes:
    """An experiment that notes who was asked for; stops after `limit` runs."""

    def __init__(self, limit: int = 100, bundle: str | None = None) -> None:
        self.asked: list[tuple[str, int]] = []
        self.limit = limit
        self.bundle = bundle

    def run(self, arm: str, seed: int, session: Any) -> Sequence[dict[str, Any]]:
        if len(self.asked) == self.limit:
            raise FRAME.OutOfTimeError
        self.asked.append((arm, seed))
        return [{"updates": u, "error": float(u + seed + (arm == "b"))} for u in (10, 20)]

    def main(self, folder: Path, *words: str) -> int:
        experiment = FRAME.Experiment(
            name="notes",
            title="Notes",
            arms=("a", "b"),
            run=self.run,
            keys=("updates",),
            updates=20,
            bundle=self.bundle,
            plots=(PAGE.Plot(x="updates", y="error"),),
        )
        places = ["--out", str(folder), "--corpus", str(folder / "corpus")]
        return FRAME.main(experiment, [*places, "--seeds", "2", *words])


def test_seeds_go_first_so_that_a_stopped_run_still_compares_all_arms(tmp_path: Path) -> None:
    notes = Notes()
    assert notes.main(tmp_path) == 0
    assert notes.asked == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_what_is_finished_is_not_done_again_and_the_rest_goes_on(tmp_path: Path) -> None:
    stopped = Notes(limit=3)
    assert stopped.main(tmp_path) == 1
    again = Notes()
    assert again.main(tmp_path) == 0
    assert again.asked == [("b", 1)]


def test_results_of_other_settings_are_neither_kept_nor_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Notes().main(tmp_path) == 0
    other = Notes()
    assert other.main(tmp_path, "--table", "--updates", "7") == 0
    assert "Not run yet" in capsys.readouterr().out.rpartition("standard error")[2]
    assert other.main(tmp_path, "--updates", "7") == 0
    assert len(other.asked) == 4


def index(folder: Path, text: str) -> None:
    """Put a corpus with an index there; no experiment of notes opens it."""
    (folder / "corpus").mkdir(exist_ok=True)
    (folder / "corpus" / "index.json").write_text(text)


def test_another_corpus_is_another_result(tmp_path: Path) -> None:
    index(tmp_path, "1")
    assert Notes().main(tmp_path) == 0
    again, rebuilt = Notes(), Notes()
    assert again.main(tmp_path) == 0
    index(tmp_path, "2")
    assert rebuilt.main(tmp_path) == 0
    assert (len(again.asked), len(rebuilt.asked)) == (0, 4)


def bundle(folder: Path, seed: int) -> str:
    torch.manual_seed(seed)
    spec = dataclasses.replace(tiny(), stages=tiny().stages[:1])
    save_bundle(folder, spec, {stage.name: VideoUNet(stage.unet) for stage in spec.stages})
    return str(folder)


def test_new_weights_are_another_result_where_they_are_sampled(tmp_path: Path) -> None:
    first, second = (bundle(tmp_path / name, seed) for seed, name in enumerate("ab"))
    counts = []
    for name in (first, first, second):
        notes = Notes(bundle=name)
        assert notes.main(tmp_path) == 0
        counts.append(len(notes.asked))
    assert counts == [4, 0, 4]
    trained = Notes()  # an experiment that samples no bundle knows none
    assert trained.main(tmp_path / "other") == 0
    record = json.loads((tmp_path / "other" / "notes" / "results" / "a-seed0.json").read_text())
    assert "bundle" not in record["settings"]


@pytest.mark.parametrize("name", ["guidance", "augmentation"])
def test_what_samples_a_bundle_says_so(name: str) -> None:
    module = script(name)
    assert module.EXPERIMENT.bundle == module.BUNDLE


def test_the_table_still_shows_what_was_made_with_an_earlier_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index(tmp_path, "1")
    assert Notes().main(tmp_path) == 0
    index(tmp_path, "2")
    capsys.readouterr()
    assert Notes().main(tmp_path, "--table") == 0
    assert "| b | 20 | 2 | 21.5 +- 0.5 |" in capsys.readouterr().out.splitlines()
    # results of before there were digests
    for file in (tmp_path / "notes" / "results").glob("*.json"):
        record = json.loads(file.read_text())
        del record["settings"]["corpus"]
        file.write_text(json.dumps(record))
    assert Notes().main(tmp_path, "--table") == 0
    assert "| b | 20 | 2 | 21.5 +- 0.5 |" in capsys.readouterr().out.splitlines()


def test_no_time_left_means_nothing_is_run(tmp_path: Path) -> None:
    notes = Notes()
    assert notes.main(tmp_path, "--minutes", "0") == 1
    assert not notes.asked


def test_a_fault_of_the_user_is_said_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prediction = script("prediction").EXPERIMENT
    words = ["--quick", "--out", str(tmp_path), "--corpus", str(tmp_path / "nowhere")]
    assert FRAME.main(prediction, words) == 2
    assert "nowhere" in capsys.readouterr().err


def test_quick_results_are_kept_apart(tmp_path: Path) -> None:
    assert Notes().main(tmp_path, "--quick") == 0
    assert not (tmp_path / "notes").exists()
    assert len(list((tmp_path / "quick" / "notes" / "results").glob("*.json"))) == 2


def test_the_table_has_means_and_standard_errors_over_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Notes().main(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| b | 20 | 2 | 21.5 +- 0.5 |" in lines


def test_a_record_says_what_it_rests_on(tmp_path: Path) -> None:
    assert Notes().main(tmp_path) == 0
    record = json.loads((tmp_path / "notes" / "results" / "b-seed1.json").read_text())
    assert record["settings"] == {"updates": 20, "clips": 16, "quick": False, "corpus": None}
    assert record["processor_seconds"] >= 0


def test_a_damaged_record_is_done_again(tmp_path: Path) -> None:
    assert Notes().main(tmp_path) == 0
    (tmp_path / "notes" / "results" / "a-seed0.json").write_text("{")
    again = Notes()
    assert again.main(tmp_path) == 0
    assert again.asked == [("a", 0)]


def test_seeds_can_be_added_to_what_a_page_shows(tmp_path: Path) -> None:
    docs = ["--docs", str(tmp_path / "docs")]
    assert Notes().main(tmp_path / "here", "--seeds", "1", "--publish", *docs) == 0
    published = json.loads((tmp_path / "docs" / "experiments" / "notes.json").read_text())
    assert [(record["arm"], record["seed"]) for record in published] == [("a", 0), ("b", 0)]
    there = Notes()
    assert there.main(tmp_path / "there", "--published", "--publish", *docs) == 0
    assert there.asked == [("a", 1), ("b", 1)]
    page = (tmp_path / "docs" / "experiments" / "notes.md").read_text()
    assert "| b | 20 | 2 | 21.5 +- 0.5 |" in page
    anew = Notes()  # without the option everything is measured again
    assert anew.main(tmp_path / "anew", *docs) == 0
    assert len(anew.asked) == 4


@pytest.mark.parametrize("text", [None, "{", "[1]", '[{"arm": "a"}]'])
def test_a_page_without_results_to_begin_with_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    file = tmp_path / "docs" / "experiments" / "notes.json"
    if text is not None:
        file.parent.mkdir(parents=True)
        file.write_text(text)
    notes = Notes()
    assert notes.main(tmp_path, "--published", "--docs", str(tmp_path / "docs")) == 2
    assert str(file) in capsys.readouterr().err
    assert not notes.asked


def test_publishing_keeps_the_prose_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "experiments" / "notes.md"
    page.parent.mkdir()
    page.write_text(f"# T\n\nbefore\n\n{PAGE.BEGIN}\nold\n{PAGE.END}\n\nafter\n")
    lines = [{"arm": "a", "x": 1, "y": 2.0, "y +-": None}, {"arm": "a", "x": 2, "y": 3.0}]
    PAGE.publish("notes", "T", (PAGE.Plot(x="x", y="y"),), lines, "about", tmp_path)
    text = page.read_text()
    assert text.startswith("# T\n\nbefore\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| a | 2 | 3 |" in text
    picture = tmp_path / "images" / "experiments" / "notes.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_page_without_marks_gets_its_results_at_the_end() -> None:
    assert PAGE.between_marks("# T\n", "table").endswith(f"table\n{PAGE.END}\n")


def test_a_plot_shows_only_what_its_condition_names() -> None:
    plot = PAGE.Plot(x="x", y="y", where=("input", "made"))
    lines = [{"arm": "a", "input": name, "y": 1.0} for name in ("made", "real")]
    assert [PAGE._shown(plot, line) for line in lines] == [True, False]


def test_nothing_is_published_that_is_not_there_or_means_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Notes().main(tmp_path, "--table", "--publish") == 2
    assert "nothing to publish" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        Notes().main(tmp_path, "--quick", "--publish")
    assert "--quick" in capsys.readouterr().err
