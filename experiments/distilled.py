"""Distilled against undistilled: hands over to `imagen-video distill report`.

    python experiments/distilled.py --teacher build/teachers --bundle emoji [more options]

The report compares a student with its teacher in quality, time and FLOPs, as in the paper's Table
1; docs/distillation.md says how a student is made and what the numbers mean.
"""

from __future__ import annotations

import sys
from pathlib import Path

from imagen_video.cli.main import main

OUT = Path(__file__).resolve().parents[1] / "build" / "experiments" / "distilled"


def command(words: list[str]) -> list[str]:
    """Return the words of the command, with a folder for the report unless one is given."""
    return ["distill", "report", *words, *([] if "--out" in words else ["--out", str(OUT)])]


if __name__ == "__main__":
    raise SystemExit(main(command(sys.argv[1:])))
