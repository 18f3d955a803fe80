"""`imagen-video doctor`: does it work here, and if not, what to do and what to report."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import re
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Annotated

import tyro

from imagen_video import __version__
from imagen_video.cli.checks import Check, Examine, examined

EXIT_FAILED = 1
SETTINGS = (
    "CUDA_VISIBLE_DEVICES",
    "HF_HUB_OFFLINE",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TRANSFORMERS_OFFLINE",
)
"""Variables of the environment that change what is computed, or where."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """See whether everything works on this machine.

    Takes about ten seconds and uses no network. Exit code 1 means that a check failed. The lines
    can be pasted into a bug report: your home folder is ~ in them, and your name is left out.
    """

    bundle: Annotated[str, tyro.conf.arg(metavar="BUNDLE")] = "emoji"
    """Trained cascade to try: a built-in name, a folder, or a hub id."""
    json: bool = False
    """Print JSON instead of lines."""


def run(argv: list[str]) -> int:
    """Parse the words after `doctor`, run every check and print what it has found.

    Returns:
        0, or 1 if a check failed.
    """
    options = tyro.cli(
        DoctorOptions,
        args=argv,
        prog="imagen-video doctor",
        description=cleandoc(DoctorOptions.__doc__ or ""),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    found = []
    if not options.json:
        print(f"imagen-video {__version__}")
    for check in checked(options.bundle):
        found.append(check)
        if not options.json:
            _print(check)
    failed = [check.name for check in found if check.status == "failed"]
    if options.json:
        report = {"version": __version__, "ok": not failed}
        print(json.dumps({**report, "checks": [dataclasses.asdict(check) for check in found]}))
    else:
        print(f"failed: {', '.join(failed)}" if failed else "everything works")
        print("Paste all of these lines into a bug report, with the command that failed.")
    return EXIT_FAILED if failed else 0


def checked(bundle: str) -> Iterator[Check]:
    """Run the checks in order and yield each as it is done, private names taken out.

    Args:
        bundle: the trained cascade to try.
    """
    for name, examine in _checks(bundle):
        check = examined(name, examine)
        yield dataclasses.replace(check, found=redacted(check.found), fix=redacted(check.fix))


def _checks(bundle: str) -> list[tuple[str, Examine]]:
    """Return every check with its name, what others need first."""
    from imagen_video.cli import checks, self_test

    def encoder() -> Check:
        from imagen_video.cascade.bundle import Bundle
        from imagen_video.cascade.resolve_bundle import find_bundle

        return self_test.text_encoder(Bundle.open(find_bundle(bundle)).spec)

    return [
        ("python", checks.python),
        ("packages", checks.packages),
        ("extras", checks.extras),
        ("torchvision", checks.torchvision),
        ("torch", checks.torch_build),
        ("devices", checks.devices),
        ("memory", checks.memory),
        ("disk", checks.disk),
        ("settings", _settings),
        ("codecs", self_test.codecs),
        ("text encoder", encoder),
        ("weights", lambda: self_test.weights(bundle)),
        ("generation", lambda: self_test.generation(bundle)),
    ]


def redacted(text: str) -> str:
    """Replace the home folder by ~ and the user's name in paths by USER."""
    home = Path.home()
    if home != home.parent:  # a service without a home has /
        text = text.replace(str(home), "~")
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a table of users
        return text
    return re.sub(rf"(?<=[/\\]){re.escape(user)}(?![\w-])", "USER", text)


def _settings() -> Check:
    values = [f"{name}={os.environ[name]}" for name in SETTINGS if name in os.environ]
    return Check(name="settings", status="ok", found=", ".join(values) or "none of note")


def _print(check: Check) -> None:
    print(f"{check.status:<6} {check.name}: {check.found}")
    if check.fix and check.status != "ok":
        print(f"       to do: {check.fix}")
    sys.stdout.flush()
