"""Running a command line inside the test, and looking at what it wrote."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from imagen_video.cli.main import main
from imagen_video.media.video_io import read_video

PROMPT = "a panda dancing on a blue background"
SLUG = "a-panda-dancing-on-a-blue-background"


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.out.splitlines()[-1])


def command(*words: str | Path) -> Done:
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        code = main([str(word) for word in words])
    return Done(code, out.getvalue(), err.getvalue())


def frames_of(path: str | Path) -> np.ndarray:
    return read_video(path)[0]


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


Generate = Callable[..., Done]
"""`generate` with the tiny bundle, in fp32."""
