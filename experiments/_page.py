"""What an experiment shows: a table of means and standard errors, plots, and a page in docs/.

The page's prose is written by hand. Between the two marks below, the script writes its results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from imagen_video.media.atomic import replacing

BEGIN, END = "<!-- results: written by the script -->", "<!-- end of the results -->"

Line = Mapping[str, str | float | int | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plot:
    """A measure over a key, one curve an arm."""

    x: str
    """Key on the horizontal axis."""
    y: str
    """Measure."""
    log: bool = False
    """Logarithmic measure."""
    where: tuple[str, str] | None = None
    """Another key and the value that it must have."""


def publish(
    name: str,
    title: str,
    plots: Sequence[Plot],
    lines: Sequence[Line],
    about: str,
    docs: Path | None = None,
    sheets: Sequence[Path] = (),
) -> str:
    """Return the results in Markdown; with `docs`, write pictures and the page there as well."""
    text = f"{about}\n\n{table(lines)}\n"
    if docs is None:
        return text
    picture = docs / "images" / "experiments" / f"{name}.png"
    if lines and plots:
        picture.parent.mkdir(parents=True, exist_ok=True)
        draw(plots, lines, picture)
        text += f"\n![{title}](../images/experiments/{name}.png)\n"
    if sheets:
        stack(sheets, picture.with_name(f"{name}-frames.png"))
        text += f"\n![Frames of every arm](../images/experiments/{name}-frames.png)\n"
    page = docs / "experiments" / f"{name}.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    old = page.read_text(encoding="utf-8") if page.exists() else f"# {title}\n\n{BEGIN}\n{END}\n"
    with replacing(page) as path:
        path.write_text(between_marks(old, text), encoding="utf-8")
    return text


def stack(sheets: Sequence[Path], path: Path) -> None:
    """Put contact sheets under one another into one PNG."""
    from PIL import Image

    pictures = [Image.open(sheet).convert("RGB") for sheet in sheets]
    size = (max(p.width for p in pictures), sum(p.height for p in pictures))
    whole, top = Image.new("RGB", size, "white"), 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        whole.save(temporary, format="PNG")


def between_marks(page: str, text: str) -> str:
    """Replace what stands between the marks; a page without them gets both at its end."""
    if BEGIN not in page or END not in page:
        page = f"{page.rstrip()}\n\n{BEGIN}\n{END}\n"
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{text}\n{END}{tail}"


def table(lines: Sequence[Line]) -> str:
    """Format lines as a Markdown table; a measure and its standard error share a cell."""
    if not lines:
        return "(nothing yet)"
    names = [name for name in lines[0] if not name.endswith(" +-")]
    rows = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    rows += ["| " + " | ".join(_cell(line, name) for name in names) + " |" for line in lines]
    return "\n".join(rows)


def _cell(line: Line, name: str) -> str:
    value, error = line.get(name), line.get(f"{name} +-")
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" + (f" +- {error:.1g}" if isinstance(error, float) else "")


def draw(plots: Sequence[Plot], lines: Sequence[Line], path: Path) -> None:
    """Draw the plots side by side into a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(plots), figsize=(4.6 * len(plots), 3.4), constrained_layout=True, squeeze=False
    )
    for axis, plot in zip(axes[0], plots, strict=True):
        for arm in dict.fromkeys(line["arm"] for line in lines):
            points = [
                (line[plot.x], line[plot.y], line.get(f"{plot.y} +-") or 0.0)
                for line in lines
                if line["arm"] == arm and _shown(plot, line)
            ]
            if points:
                x, y, error = zip(*points, strict=True)
                axis.errorbar(x, y, yerr=error, marker="o", label=str(arm), capsize=2)
        axis.set(xlabel=plot.x, ylabel=plot.y, yscale="log" if plot.log else "linear")
        axis.set_title("" if plot.where is None else " ".join(plot.where), fontsize=9)
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _shown(plot: Plot, line: Line) -> bool:
    return line.get(plot.y) is not None and (
        plot.where is None or line.get(plot.where[0]) == plot.where[1]
    )
