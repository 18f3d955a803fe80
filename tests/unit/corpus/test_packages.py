from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path

import pytest

from imagen_video.corpus import packages
from imagen_video.corpus.packages import (
    FONT,
    NPM_PACKAGES,
    PACKAGES,
    Package,
    check_npm_package,
    fetch,
    find_font,
    locate,
)
from imagen_video.errors import DataError, InputError, MissingExtraError, ResourceError


def install(root: Path, package: Package, **changes: object) -> Path:
    folder = root / package.name
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"version": package.version, "license": package.licence, **changes}
    (folder / "package.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for package in NPM_PACKAGES:
        install(tmp_path / "node_modules", package)
    monkeypatch.setattr(packages, "find_font", lambda: Path("font.ttf"))
    return tmp_path


def test_nothing_share_alike_is_used_and_every_source_is_named() -> None:
    for package in PACKAGES:
        assert package.art_licence in {"MIT", "Apache-2.0", "OFL-1.1"}
        assert package.origin
        assert package.version[0].isdigit()


def test_installed_packages_are_found_from_either_folder(installed: Path) -> None:
    assert locate(installed) == locate(installed / "node_modules")
    assert len(locate(installed).animations) == 4


def test_installed_packages_are_not_installed_again(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages.shutil, "which", lambda name: pytest.fail(name))
    assert fetch(installed) == locate(installed)


@pytest.mark.parametrize("changes", [{"version": "9.9.9"}, {"license": "CC-BY-SA-4.0"}])
def test_another_version_or_licence_is_refused(installed: Path, changes: dict[str, object]) -> None:
    install(installed / "node_modules", NPM_PACKAGES[0], **changes)
    with pytest.raises(DataError, match=next(iter(changes.values()))):  # type: ignore[arg-type]
        locate(installed)


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{NPM_PACKAGES[0].name}@"):
        locate(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_a_damaged_manifest_is_a_data_error(tmp_path: Path, text: str) -> None:
    folder = install(tmp_path, NPM_PACKAGES[0])
    (folder / "package.json").write_text(text)
    with pytest.raises(DataError, match="damaged"):
        check_npm_package(NPM_PACKAGES[0], tmp_path)


def test_without_npm_the_message_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    with pytest.raises(MissingExtraError, match="--packages"):
        fetch(tmp_path / "new")


def fake_npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_npm_is_run_without_scripts_on_the_pinned_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path / "bin", f'printf "%s\\n" "$@" > {tmp_path}/arguments', monkeypatch)
    with pytest.raises(DataError, match="not installed"):
        fetch(tmp_path / "new")  # the stand-in installs nothing
    arguments = (tmp_path / "arguments").read_text().split("\n")
    assert "--ignore-scripts" in arguments
    assert "--no-save" in arguments
    for package in NPM_PACKAGES:
        assert f"{package.name}@{package.version}" in arguments


def test_a_folder_that_cannot_be_made_is_the_users_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path / "bin", "exit 1", monkeypatch)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="check the path") as caught:
        fetch(tmp_path / "file" / "new")
    assert not isinstance(caught.value, ResourceError)


def test_a_failing_npm_shows_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path / "bin", "echo noise >&2; echo no such host >&2; exit 1", monkeypatch)
    with pytest.raises(DataError, match="no such host"):
        fetch(tmp_path / "new")


def test_the_font_of_the_pinned_version_is_found() -> None:
    pytest.importorskip("fontpkg_lilita_one")
    assert find_font().suffix == ".ttf"


def test_another_font_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fontpkg_lilita_one")
    monkeypatch.setattr(metadata, "version", lambda name: "2.0")
    with pytest.raises(DataError, match=f"{FONT.name}=={FONT.version}"):
        find_font()


def test_a_missing_font_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=f"pip install {FONT.name}"):
        find_font()
