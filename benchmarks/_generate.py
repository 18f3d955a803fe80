"""The command `generate` as a user gives it: a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from _report import ROOT


def generate(prompt: str, options: Sequence[str]) -> tuple[float, dict[str, Any]]:
    """Run the command; return its seconds and what it said (`--json`).

    Raises:
        SystemExit: if it failed; its own message is above.
    """
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "imagen_video", "generate", prompt, "--json", *options]
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"generate ended with exit code {done.returncode}; see its message above")
    return seconds, json.loads(done.stdout.strip().splitlines()[-1])
