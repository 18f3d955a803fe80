"""The report for people: Markdown tables and contact sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imagen_video.distillation.report import Depth
from imagen_video.media.sheets import contact_sheet, write_png

COLUMNS = 8
CELL_WIDTH = 160
NAMES = {
    "top-1": "subject top-1 %",
    "top-5": "subject top-5 %",
    "ground": "ground %",
    "motion": "motion %",
    "frame_distance": "frame distance",
    "clip_distance": "video distance",
}
"""What is compared, and its heading."""
SCORES = ("top-1", "top-5", "ground", "motion")


def markdown(result: Mapping[str, Any], command: str, sheets: Sequence[str]) -> str:
    """Write a result as a page.

    Args:
        result: of `Reporter.run`.
        command: what made it.
        sheets: names of the contact sheets beside the page.
    """
    parts = [
        "# Distillation report",
        "",
        "Made by",
        "",
        f"```\n{command}\n```",
        "",
        _about(result["about"]),
        "",
        "Alignment is that of a linear probe on frozen EfficientNet-Lite0 features among "
        f"{result['config']['names']} names, in percent of the clips; distances are Lite0 Frechet "
        "distances to real renders (neither FID nor FVD), lower is better. +- is the standard "
        "error: of scores over the runs (over clips where there is one run), of distances over "
        "resampled clips. Seconds are those of one clip alone. The base of 'SR distilled' is that "
        "of 'undistilled', clip for clip.",
    ]
    if result["settings"]["oscillating_weights"]:
        parts[-1] += (
            " A row without oscillating guidance has a base that was distilled for one weight."
        )
    for depth in result["depths"]:
        parts += ["", *_depth(depth)]
    parts += ["", "## Steps", "", *_savings(result["savings"])]
    if result["later"]:
        parts += ["", *_later(result["later"])]
    whole = result["whole"]
    parts += [
        "",
        f"A clip through every stage, constant guidance: {whole['teacher_seconds']:.4g} s "
        f"undistilled, {whole['student_seconds']:.4g} s distilled, "
        f"{whole['times_faster']:.3g} times faster.",
    ]
    if sheets:
        parts += ["", "## Side by side", ""]
        parts += [f"![the same prompt and seed in every cell]({name})" for name in sheets]
    return "\n".join(parts) + "\n"


def write_sheets(depths: Sequence[Depth], out: Path, count: int) -> list[str]:
    """Write contact sheets: real render and every cell, the same prompt and seed.

    Returns:
        Their file names.
    """
    names = []
    for depth in depths:
        for number, sample in enumerate(depth.samples[:count]):
            clips = [depth.judge.real(sample.scene)]
            labels = [f"{sample.scene.caption} (seed {sample.seed}): real render"]
            for cell in depth.cells:
                clips.append(cell.made[number].frames)
                labels.append(cell.cell.name)
            name = f"{depth.until}-{number + 1}.png"
            sheet = contact_sheet(clips, columns=COLUMNS, cell_width=CELL_WIDTH, labels=labels)
            write_png(out / name, sheet)
            names.append(name)
    return names


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format rows, the first of which is the heading, as Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]


def _about(about: Mapping[str, Any]) -> str:
    return (
        f"imagen-video {about['version']}, torch {about['torch']}, {about['precision']}, "
        f"{about['cores']} cores ({about['threads']} threads) of {about['machine']}; "
        f"teacher {about['teacher'][:12]}, student {about['student'][:12]}."
    )


def _depth(depth: Mapping[str, Any]) -> list[str]:
    height, width = depth["size"]
    heading = ["guidance of the base", "", "base steps", "SR steps"]
    heading += [NAMES[name] for name in NAMES] + ["s a clip", "TFLOP a clip", "faster", "FLOPs"]
    rows = [heading]
    for guidance in ("constant", "oscillating"):
        rows += [_row(cell) for cell in depth["cells"] if cell["guidance"] == guidance]
    real = ["real renders", "", "", "", *(_percent(depth["real"][name]) for name in SCORES)]
    rows.append(real + [""] * (len(heading) - len(real)))
    return [
        f"## Through {depth['until']}, {depth['clips']} clips a cell",
        "",
        *table(rows),
        "",
        f"Judged at {height}x{width}; {depth['runs']} runs; {depth['frame_dimensions']} and "
        f"{depth['clip_dimensions']} principal components of frames and clips.",
        "",
        "Paired differences to 'undistilled' with the same guidance, 95 % interval; those whose "
        "interval does not contain zero are marked *:",
        "",
        *table(
            [
                ["guidance", "", *NAMES.values()],
                *(_difference_row(cell) for cell in depth["cells"] if "differences" in cell),
            ]
        ),
    ]


def _row(cell: Mapping[str, Any]) -> list[str]:
    base, *others = cell["steps"].values()
    weight = next(iter(cell["weights"].values()))
    row = [f"{cell['guidance']} {weight:g}", cell["row"], str(base), _steps(others)]
    row += [_percent(cell["scores"][name]) for name in SCORES]
    row += [_plus_minus(cell[name]) for name in ("frame_distance", "clip_distance")]
    row += [f"{cell['seconds']['value']:.3g}", f"{cell['flops'] / 1e12:.3g}"]
    faster, fewer = cell.get("times_faster"), cell.get("times_fewer_flops")
    return row + ["" if value is None else f"{value:.3g}x" for value in (faster, fewer)]


def _steps(steps: Sequence[int]) -> str:
    if not steps:
        return "-"
    return str(steps[0]) if len(set(steps)) == 1 else " ".join(map(str, steps))


def _difference_row(cell: Mapping[str, Any]) -> list[str]:
    row = [cell["guidance"], cell["row"]]
    for name in NAMES:
        scale = 100 if name in SCORES else 1
        found = cell["differences"][name]
        value, low, high = found["value"], found["low"], found["high"]
        if low is None or high is None:
            row.append(f"{scale * value:+.3g}")
            continue
        mark = "" if low <= 0 <= high else " *"
        row.append(f"{scale * value:+.3g} ({scale * low:+.3g} to {scale * high:+.3g}){mark}")
    return row


def _savings(savings: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [["stage", "calls (passes)", "student", "fewer FLOPs implied", "counted"]]
    rows += [
        [
            saving["stage"],
            f"{saving['calls']} ({saving['passes']})",
            f"{saving['student_calls']} ({saving['student_passes']})",
            f"{saving['implied']:.3g}x",
            f"{saving['counted']:.3g}x",
        ]
        for saving in savings
    ]
    total = sum(s["flops"] for s in savings) / sum(s["student_flops"] for s in savings)
    rows.append(["all", "", "", "", f"{total:.3g}x"])
    return table(rows)


def _later(later: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [["stage", "calls", "s", "student's calls", "s", "faster"]]
    rows += [
        [
            stage["stage"],
            str(stage["teacher_calls"]),
            f"{stage['teacher_seconds']:.3g}",
            str(stage["student_calls"]),
            f"{stage['student_seconds']:.3g}",
            f"{stage['times_faster']:.3g}x",
        ]
        for stage in later
    ]
    return [
        "Later stages were not sampled: their seconds are those of one measured call on a few "
        "frames, times frames, times calls.",
        "",
        *table(rows),
    ]


def _plus_minus(found: Mapping[str, Any], scale: float = 1.0) -> str:
    value = f"{scale * found['value']:.3g}"
    return value if found["error"] is None else f"{value} +- {scale * found['error']:.2g}"


def _percent(found: Mapping[str, Any]) -> str:
    return _plus_minus(found, 100)
