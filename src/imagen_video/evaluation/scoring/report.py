"""What an evaluation says: a table for a person, JSON with every setting, and a plot."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from imagen_video.errors import MissingExtraError
from imagen_video.evaluation.scoring.evaluator import Result
from imagen_video.evaluation.scoring.results import Row
from imagen_video.evaluation.scoring.statistics import Estimate
from imagen_video.media.atomic import replacing

HEADINGS = ("metric", "generated", "real renders", "better", "chance", "clips")
GENERATED, REAL = "#3366aa", "#c8b060"
"""Colours of the plot."""
LABEL = 40
"""Letters of a line of the plot's labels."""


def table(result: Result) -> str:
    """Return the numbers as aligned columns, then what is not measured and why."""
    rows = [HEADINGS, *(_cells(row) for row in result.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += [f"not measured: {name}: {reason}" for name, reason in result.missing.items()]
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    column = row.column
    chance = "" if row.chance is None else f"{100 * row.chance:.3g} %"
    title = column.title
    if row.dimensions is not None:
        title += f", {row.dimensions} dimensions"
    return (
        title,
        shown(row.made, share=column.share),
        shown(row.real, share=column.share),
        column.better,
        chance,
        _clips(row),
    )


def _clips(row: Row) -> str:
    """Say of how many clips a number is, and of how many real ones where that differs."""
    made, real = row.made.count, row.real.count
    return f"{made}" if made == real else f"{made}, real {real}"


def _label(row: Row, note: str = "") -> str:
    """Say in the plot what a number is, and of how many clips."""
    return textwrap.fill(f"{row.column.title} ({note}n={_clips(row)})", LABEL)


def shown(estimate: Estimate, *, share: bool) -> str:
    """Write a number with its standard error, a share in percent."""
    if share:
        error = "" if estimate.error is None else f" +- {100 * estimate.error:.1f}"
        return f"{100 * estimate.value:.1f}{error} %"
    error = "" if estimate.error is None else f" +- {estimate.error:.2g}"
    return f"{estimate.value:.4g}{error}"


def report(result: Result, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of an evaluation.

    Args:
        result: what was measured.
        about: what is said about the videos: bundle, seeds, steps, command.
    """
    return {
        **about,
        **result.settings,
        "results": [row.to_json() for row in result.rows],
        "not_measured": result.missing,
        "clips": list(result.clips),
    }


def write(result: Result, about: Mapping[str, Any], out: Path) -> list[Path]:
    """Write OUT/evaluation.json and OUT/evaluation.png.

    Returns:
        The files.

    Raises:
        MissingExtraError: if matplotlib is not installed; the JSON is there by then.
        ResourceError: if the disk is full.
    """
    path = out / "evaluation.json"
    with replacing(path) as temporary:
        # no NaN: what is not measured is not a number that looks valid
        text = json.dumps(report(result, about), indent=1, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    picture = out / "evaluation.png"
    plot(result.rows, picture)
    return [path, picture]


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw shares beside those of real renders, and all else relative to real renders.

    Args:
        rows: the numbers.
        path: a PNG.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    check_plots()
    from matplotlib.figure import Figure

    shares = [row for row in rows if row.column.share]
    others = [row for row in rows if not row.column.share]
    height = 1.2 + 0.42 * max(len(shares), len(others), 3)
    figure = Figure(figsize=(12, height), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_shares(left, shares)
    _draw_ratios(right, others)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def check_plots() -> None:
    """Refuse before anything is computed if there can be no plot.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError(
            "the plot", "no matplotlib", "the eval extra", "run: pip install 'imagen-video[eval]'"
        )


def _draw_shares(axes: Any, rows: Sequence[Row]) -> None:
    places = [float(-index) for index in range(len(rows))]
    for offset, colour, label, which in (
        (0.2, REAL, "real renders", "real"),
        (-0.2, GENERATED, "generated", "made"),
    ):
        estimates = [getattr(row, which) for row in rows]
        axes.barh(
            [place + offset for place in places],
            [100 * one.value for one in estimates],
            0.36,
            xerr=[100 * (one.error or 0) for one in estimates],
            color=colour,
            label=label,
            error_kw={"lw": 1},
        )
    for place, row in zip(places, rows, strict=True):
        if row.chance is not None:
            axes.plot([100 * row.chance] * 2, [place - 0.42, place + 0.42], "k:", lw=1)
    axes.set_yticks(places, [_label(row) for row in rows])
    axes.set_xlim(0, 105)
    axes.set_xlabel("percent; bars: standard error; dotted: chance")
    if rows:
        axes.legend(loc="lower right", fontsize=8)


def _draw_ratios(axes: Any, rows: Sequence[Row]) -> None:
    usable = [row for row in rows if row.real.value > 0 and row.made.value > 0]
    places = [float(-index) for index in range(len(usable))]
    for place, row in zip(places, usable, strict=True):
        ratio = row.made.value / row.real.value
        error = (row.made.error or 0) / row.real.value
        low = min(error, 0.95 * ratio)
        axes.errorbar(ratio, place, xerr=[[low], [error]], fmt="o", color=GENERATED, ms=5)
        note = f"{row.made.value:.3g} / {row.real.value:.3g}"
        axes.annotate(note, (ratio, place), (0, 6), textcoords="offset points", fontsize=7)
    axes.axvline(1, color=REAL, lw=2)
    axes.set_xscale("log")
    labels = [_label(row, f"{row.column.better}, ") for row in usable]
    axes.set_yticks(places, labels)
    axes.set_xlabel("generated over real renders (line: as real)")
    reach = [abs(math.log10(row.made.value / row.real.value)) for row in usable]
    edge = 10 ** (max([*reach, 0.2]) + 0.25)
    axes.set_xlim(1 / edge, edge)
    axes.set_ylim(-len(usable) + 0.4, 0.6)
