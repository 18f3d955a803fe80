"""What `doctor` looks at on this machine: packages, torch, devices, memory and disk.

A check never raises: whatever goes wrong in it is what it has found.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from imagen_video import __version__
from imagen_video.errors import InputError

if TYPE_CHECKING:
    import torch
    from packaging.requirements import Requirement

DISTRIBUTION = "imagen-video"
Status: TypeAlias = Literal["ok", "note", "failed"]
LOW_MEMORY = 4 << 30
"""Bytes available that `generate` takes by default."""
LOW_DISK = 2 << 30
"""Bytes free that a few full-size videos and their stages take."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """What one check has found."""

    name: str
    status: Status
    """`note`: works, with something to know; `failed`: will not work."""
    found: str
    """What is there, for a person who reads a bug report."""
    fix: str = ""
    """What to do about it."""


Examine: TypeAlias = Callable[[], Check]

_REINSTALL = "install it again: pip install -e . in a clone, else pip install -U imagen-video"


def examined(name: str, examine: Examine) -> Check:
    """Run one check; an exception is a failed check.

    Args:
        name: of the check, should it not come to an answer.
        examine: looks and says what it has found.
    """
    try:
        return examine()
    except InputError as error:
        return Check(
            name=name,
            status="failed",
            found=f"{error.where}: got {error.got}; expected {error.expected}",
            fix=error.fix,
        )
    except Exception as error:
        # A broken installation fails in ways that nobody can list; each is an answer.
        found = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        fix = _REINSTALL if isinstance(error, ImportError) else "report it with these lines"
        return Check(name=name, status="failed", found=found, fix=fix)


def python() -> Check:
    """Compare the interpreter with the supported range."""
    from packaging.specifiers import SpecifierSet

    version = ".".join(map(str, sys.version_info[:3]))
    supported = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    found = f"{version} on {sys.platform}"
    if not SpecifierSet(supported).contains(version, prereleases=True):
        fix = f"make an environment with Python {supported}"
        return Check(name="python", status="failed", found=f"{found}, not {supported}", fix=fix)
    return Check(name="python", status="ok", found=found)


def packages() -> Check:
    """Compare the installed packages with the ranges that this package asks for."""
    installed = metadata.version(DISTRIBUTION)
    if installed != __version__:
        return Check(
            name="packages",
            status="failed",
            found=f"{DISTRIBUTION} {__version__} runs, {installed} is what pip knows of",
            fix=_REINSTALL,
        )
    needs = list(_requirements(None))
    wrong = [need for need in needs if not _satisfied(need)]
    if wrong:
        return Check(
            name="packages",
            status="failed",
            found="; ".join(f"{_named(need)}, not {need}" for need in wrong),
            fix="pip install " + " ".join(f"'{need}'" for need in wrong),
        )
    found = ", ".join([f"{DISTRIBUTION} {installed}", *map(_named, needs)])
    return Check(name="packages", status="ok", found=found)


def extras() -> Check:
    """Say which extras are installed, wholly or in part."""
    have, lack = [], []
    for extra in metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []:
        missing = [need.name for need in _requirements(extra) if not _satisfied(need)]
        if missing:
            lack.append(f"{extra} (lacks {', '.join(missing)})")
        else:
            have.append(extra)
    found = "installed: " + (", ".join(have) or "none")
    if lack:
        found += "; not installed: " + ", ".join(lack)
    return Check(
        name="extras",
        status="ok",
        found=found,
        fix="where one is wanted: pip install 'imagen-video[NAME]'" if lack else "",
    )


def torchvision() -> Check:
    """Try torchvision where it is installed: a broken one takes transformers with it."""
    try:
        version = metadata.version("torchvision")
    except metadata.PackageNotFoundError:
        return Check(name="torchvision", status="ok", found="not installed, and not needed")
    try:
        import_module("torchvision")
    except Exception as error:  # the usual one is a RuntimeError about an operator
        return Check(
            name="torchvision",
            status="failed",
            found=f"{version} does not load: {error}".splitlines()[0][:200],
            fix="pip uninstall torchvision, or install the build that matches torch",
        )
    return Check(name="torchvision", status="ok", found=version)


def torch_build() -> Check:
    """Say which build of torch this is, and multiply two matrices with it."""
    import torch

    _multiply("cpu")
    kind = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    found = f"{torch.__version__} ({kind}), {torch.backends.cpu.get_cpu_capability()}"
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
    return Check(name="torch", status="ok", found=f"{found}, {threads}")


def devices() -> Check:
    """Say which devices there are, which one is taken, and compute on each."""
    import torch

    from imagen_video.cli.generation import choose_device, choose_precision

    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    seen = []
    for name in names:
        _multiply(choose_device(name))
        seen.append(name if name == "mps" else _gpu(name))
    chosen = choose_device("auto")
    found = ", ".join(["cpu", *seen])
    found += f"; --device auto is {chosen}, --precision auto {choose_precision('auto', chosen)}"
    if torch.version.cuda and not names and shutil.which("nvidia-smi"):
        return Check(
            name="devices",
            status="note",
            found=f"{found}; nvidia-smi is there, but torch sees no GPU",
            fix="see whether the driver is new enough for this build of torch",
        )
    return Check(name="devices", status="ok", found=found)


def _multiply(device: str | torch.device) -> None:
    """Multiply two matrices: a build that does not fit the device fails here."""
    import torch

    ones = torch.ones(8, 8, device=device)
    assert float((ones @ ones).sum()) == 512.0, f"{device} computes wrongly"


def _gpu(name: str) -> str:
    import torch

    free, total = torch.cuda.mem_get_info(name)
    label = torch.cuda.get_device_name(name)
    return f"{name} ({label}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free)"


def memory() -> Check:
    """Compare the memory that is available with what `generate` takes by default."""
    available = _available_memory()
    if available is None:
        return Check(name="memory", status="note", found="this system does not say how much")
    found = f"{available / 1e9:.1f} GB available"
    if available < LOW_MEMORY:
        bound = max(1.5, 0.8 * available / 1e9)
        fix = f"give generate a bound, --memory {bound:.1f}GB, or close other programs"
        return Check(name="memory", status="note", found=found, fix=fix)
    return Check(name="memory", status="ok", found=found)


def _available_memory() -> int | None:
    """Return bytes that can be had, the container's limit included; None if unknown."""
    table = Path("/proc/meminfo")
    if not table.exists():
        return None
    lines = dict(line.split(":", 1) for line in table.read_text("ascii").splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text("ascii").strip()) != "max":
        available = min(available, int(text) - int(used.read_text("ascii")))
    return available


def disk() -> Check:
    """Write a file where temporary files go, and see how much room is there and here."""
    with tempfile.NamedTemporaryFile(prefix="imagen-video-") as file:
        file.write(bytes(1 << 20))
        file.flush()
    places = {"here": Path.cwd(), "temporary files": Path(tempfile.gettempdir())}
    free = {name: shutil.disk_usage(path).free for name, path in places.items()}
    found = ", ".join(f"{bytes_ / 1e9:.1f} GB free for {name}" for name, bytes_ in free.items())
    found = found.replace("for here", "here")
    if min(free.values()) < LOW_DISK:
        fix = "free some, give another --out, or set TMPDIR to a larger disk"
        return Check(name="disk", status="note", found=found, fix=fix)
    return Check(name="disk", status="ok", found=found)


def _requirements(extra: str | None) -> Iterator[Requirement]:
    """Yield what this package needs, or one extra of it, those that it is made of included."""
    from packaging.requirements import Requirement

    for line in metadata.requires(DISTRIBUTION) or []:
        need = Requirement(line)
        wanted = need.marker is None or need.marker.evaluate({"extra": extra or ""})
        if not wanted or (extra is not None and need.marker is None):
            continue
        if need.name == DISTRIBUTION:
            for other in sorted(need.extras):
                yield from _requirements(other)
        else:
            need.marker = None
            yield need


def _satisfied(need: Requirement) -> bool:
    version = _version(need.name)
    return version is not None and need.specifier.contains(version, prereleases=True)


def _named(need: Requirement) -> str:
    return f"{need.name} {_version(need.name) or 'missing'}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
