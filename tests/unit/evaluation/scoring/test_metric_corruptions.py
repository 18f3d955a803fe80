"""The table and plot of docs/metric_corruptions.py, from made-up numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagen_video.evaluation.scoring.metrics import METRICS
from unit.evaluation.conftest import script

SCRIPT = script("docs", "metric_corruptions")
KEYS = [c.key for metric in METRICS.values() if not metric.extractor for c in metric.columns]


def test_every_column_has_a_line_of_its_own_and_none_that_of_seeing_nothing() -> None:
    looks = [tuple(look.items()) for look in SCRIPT.looks_of(KEYS).values()]
    assert len(set(looks)) == len(KEYS)
    for look in SCRIPT.looks_of(KEYS).values():
        red, green, blue = (int(look["color"][i : i + 2], 16) for i in (1, 3, 5))
        light_grey = max(red, green, blue) - min(red, green, blue) < 32 and red > 96
        assert not light_grey
    with pytest.raises(ValueError, match="expected at most"):
        SCRIPT.looks_of([str(number) for number in range(1000)])


def test_what_is_left_out_at_some_strength_is_said_and_breaks_neither_table_nor_plot(
    tmp_path: Path,
) -> None:
    pytest.importorskip("matplotlib")
    seen = [(1.0 - 0.2 * i, 0.01) for i in range(5)]
    found = {fault: {"motion": seen, "direction": seen} for fault in SCRIPT.CORRUPTIONS}
    del found["blur"]["direction"]  # no clip moved along the right axis
    lines = SCRIPT.markdown(found).splitlines()
    assert lines[2].startswith("| motion and direction (1) | yes (0.2) | yes (0.2) |")
    assert "right axis (1) | no clip left | yes (0.2) |" in lines[3]
    SCRIPT.plot(found, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
