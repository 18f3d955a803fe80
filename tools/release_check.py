"""Check what a release would give to people: `make release-check`.

    python tools/release_check.py [--python python3.13] [--pip-args "..."] [--keep FOLDER]

From a clean copy of the tree it builds wheel and sdist, builds a wheel from the sdist and compares,
looks into the wheel, installs it into a new environment with the pins of constraints.txt, and uses
it there with every connection refused. Only the package index is reached, by pip. Minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MUST_HAVE = (
    "imagen_video/py.typed",
    "imagen_video/corpus/subjects.tsv",
    "imagen_video/weights/emoji/cascade.json",
    "imagen_video/weights/emoji/text_encoder.json",
    "imagen_video/weights/emoji/ssr3/model.safetensors",
)
OFFLINE = """
import socket

def refuse(*args, **kwargs):
    raise RuntimeError("the network was touched")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""
"""A sitecustomize module: Python runs it at every start."""


def main() -> None:
    """Run all checks; the first that fails ends the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter to install for")
    parser.add_argument("--pip-args", default=os.environ.get("PIP_ARGS", ""), help="of pip install")
    parser.add_argument("--keep", type=Path, help="work here, and leave everything there")
    parser.add_argument("--pipx", action="store_true", help="run it once through pipx as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="release-") as temporary:
        work = options.keep or Path(temporary)
        tree = export(work / "tree")
        wheel, sdist = build(tree, work)
        look_inside(wheel)
        compare(wheel, sdist, work)
        pip_args = ["--constraint", str(tree / "constraints.txt"), *shlex.split(options.pip_args)]
        bin_folder = install(wheel, options.python, pip_args, work)
        use(bin_folder, work)
        extras(bin_folder, wheel, tree, pip_args)
        if options.pipx:
            through_pipx(bin_folder, wheel, pip_args)
    say("everything holds")


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


def run(*words: str | Path, **options: object) -> str:
    """Run a command and return what it printed; its failure ends the script."""
    done = subprocess.run([str(word) for word in words], text=True, capture_output=True, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(
            f"failed: {shlex.join(map(str, words))}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
    return done.stdout


def export(to: Path) -> Path:
    """Copy what git tracks or would track, and nothing else."""
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    changed = run("git", "status", "--porcelain", cwd=ROOT).splitlines()
    say(f"exported the tree{f', {len(changed)} uncommitted changes included' if changed else ''}")
    return to


def build(tree: Path, work: Path) -> tuple[Path, Path]:
    """Build wheel and sdist with the backend that pyproject.toml names, in its own environment."""
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
    run(sys.executable, "-m", "venv", work / "backend")
    python = work / "backend" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", *project["build-system"]["requires"])
    run(python, "-m", "hatchling", "build", "-d", work / "dist", cwd=tree)
    (wheel,), (sdist,) = ((work / "dist").glob(f"*{end}") for end in (".whl", ".tar.gz"))
    for path in (wheel, sdist):
        say(f"built {path.name}, {path.stat().st_size / 1e6:.1f} MB")
    return wheel, sdist


def look_inside(wheel: Path) -> None:
    """Check that the wheel has what it needs and nothing of ours that it does not."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    missing = [name for name in MUST_HAVE if name not in names]
    strange = [name for name in names if not name.startswith(("imagen_video/", "imagen_video-"))]
    licences = [name for name in names if name.endswith(("licenses/LICENSE", "licenses/NOTICE"))]
    if missing or strange or len(licences) != 2:
        sys.exit(f"wheel: missing {missing}, strange {strange}, licences {licences}")
    say(f"the wheel has py.typed, weights, LICENSE and NOTICE ({len(names)} files)")


def compare(wheel: Path, sdist: Path, work: Path) -> None:
    """Build a wheel from the sdist; it must have the same files."""
    with tarfile.open(sdist) as archive:
        archive.extractall(work / "unpacked", filter="data")
    (tree,) = (work / "unpacked").iterdir()
    python = work / "backend" / "bin" / "python"
    run(python, "-m", "hatchling", "build", "-t", "wheel", "-d", work / "again", cwd=tree)
    (again,) = (work / "again").glob("*.whl")
    first, second = contents(wheel), contents(again)
    apart = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
    if apart:
        sys.exit(f"the wheel from the sdist differs in {apart[:10]}")
    say("the sdist builds the same wheel")


def contents(wheel: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def install(wheel: Path, python: str, pip_args: list[str], work: Path) -> Path:
    """Install the wheel into a new environment; return the environment's folder of commands."""
    run(python, "-m", "venv", work / "user")
    bin_folder = work / "user" / "bin"
    run(bin_folder / "python", "-m", "pip", "install", "--quiet", *pip_args, wheel)
    versions = json.loads(run(bin_folder / "python", "-c", VERSIONS))
    say("installed: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    return bin_folder


VERSIONS = """
import json, platform, importlib.metadata as m
names = ("imagen-video", "torch", "numpy", "transformers", "av", "pillow")
print(json.dumps({"python": platform.python_version(), **{n: m.version(n) for n in names}}))
"""


def use(bin_folder: Path, work: Path) -> None:
    """Type what a user types first, with every connection refused and outside of the tree."""
    (work / "offline").mkdir()
    (work / "offline" / "sitecustomize.py").write_text(OFFLINE, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(work / "offline"), "OMP_NUM_THREADS": "1"}
    command = bin_folder / "imagen-video"
    desk = work / "desk"
    desk.mkdir()
    for words in (
        ["--help"],
        ["inspect", "emoji"],
        ["doctor"],
        ["generate", "a panda on a blue background", "--out", "demo", "--until", "ssr1"],
    ):
        run(command, *words, cwd=desk, env=environment)
        say(f"works without a network: imagen-video {shlex.join(words)}")
    made = sorted(path.suffix for path in (desk / "demo").iterdir())
    if made[-3:] != [".json", ".mp4", ".png"]:
        sys.exit(f"generate left {made}")


def extras(bin_folder: Path, wheel: Path, tree: Path, pip_args: list[str]) -> None:
    """Let pip resolve every extra alone on top of the plain installation; nothing is installed."""
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra in project["optional-dependencies"]:
        words = ["-m", "pip", "install", "--quiet", "--dry-run", *pip_args, f"{wheel}[{extra}]"]
        run(bin_folder / "python", *words)
        say(f"resolves: [{extra}]")


def through_pipx(bin_folder: Path, wheel: Path, pip_args: list[str]) -> None:
    """Run the wheel as `pipx run` does: an environment of its own that is made for one command."""
    run(bin_folder / "python", "-m", "pip", "install", "--quiet", "pipx")
    words = [
        "run",
        "--pip-args",
        shlex.join(pip_args),
        "--spec",
        wheel,
        "imagen-video",
        "--version",
    ]
    say("pipx run: " + run(bin_folder / "pipx", *words).strip())


if __name__ == "__main__":
    main()
