from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from imagen_video.data.shards import verify
from imagen_video.data.shards.manifest import FileEntry, Manifest
from imagen_video.data.shards.verify import STAMPS, check_digests, check_sizes, file_entry
from imagen_video.errors import DataError
from unit.data.tiny_shards import make_clips, prepared

DIGEST = "0" * 64


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepared(make_clips(folder / "clips"), folder / "shards")
    return folder / "shards"


@pytest.fixture
def shards(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "shards")
    return tmp_path / "shards"


def files(folder: Path) -> list[FileEntry]:
    return Manifest.read(folder).stages["base"].files


def changed(folder: Path, change: Any) -> None:
    values = json.loads((folder / "manifest.json").read_text())
    change(values)
    (folder / "manifest.json").write_text(json.dumps(values))


def test_a_manifest_comes_back_as_it_was_written(whole: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(whole)
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    assert (tmp_path / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()
    assert manifest.text is not None
    assert manifest.text.captions == 8
    assert manifest.text.identity == {"encoder": "words"}


def test_a_folder_without_a_manifest_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run data prepare to the end"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(format="imagen-video shards 99"),
        lambda m: m.pop("stages"),
        lambda m: m.update(stages=[]),
        lambda m: m.update(surprise=1),
        lambda m: m["stages"]["base"].pop("height"),
        lambda m: m["stages"]["base"].update(height="24"),
        lambda m: m["stages"]["base"].update(clips=99),
        lambda m: m["stages"]["base"].update(encoding="pickle"),
        lambda m: m["stages"]["base"].update(index=None),
        lambda m: m["stages"]["base"].update(shards={}),
        lambda m: m["stages"]["base"].update(labels=None),
        lambda m: m["stages"]["base"].update(left_out={"a": "b"}),
        lambda m: m["stages"]["base"]["shards"][0].update(file="../../etc/passwd"),
        lambda m: m["stages"]["base"]["shards"][0].update(file="/etc/passwd"),
        lambda m: m["stages"]["base"]["shards"][0].update(file="base/../../x.tar"),
        lambda m: m["stages"]["base"]["shards"][0].update(file="a/b/c.tar"),
        lambda m: m["stages"]["base"]["shards"][0].update(bytes=-1),
        lambda m: m["stages"]["base"]["shards"][0].update(sha256="zz"),
        lambda m: m["text"].update(identity="minilm"),
        lambda m: m["text"].update(tokens=None),
        lambda m: m.update(dropped=3),
    ],
)
def test_a_manifest_with_something_wrong_is_refused(shards: Path, change: Any) -> None:
    changed(shards, change)
    with pytest.raises(DataError, match=r"manifest.json|file name|stage|SHA-256|encoding"):
        Manifest.read(shards)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b"[]"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DataError):
        Manifest.read(tmp_path)


def test_the_files_of_a_finished_folder_pass(shards: Path) -> None:
    check_sizes(shards, files(shards))
    check_digests(shards, files(shards))


@pytest.mark.parametrize("damage", ["longer", "missing", "link", "folder", "linked folder"])
def test_a_file_that_is_not_the_manifests_is_found_by_its_size_or_kind(
    shards: Path, damage: str, tmp_path: Path
) -> None:
    path = shards / "base" / "00001.tar"
    if damage == "longer":
        path.write_bytes(path.read_bytes() + b"\0")
    elif damage == "link":
        shutil.move(path, tmp_path / "elsewhere.tar")
        path.symlink_to(tmp_path / "elsewhere.tar")
    elif damage == "linked folder":
        shutil.move(shards / "base", tmp_path / "elsewhere")
        (shards / "base").symlink_to(tmp_path / "elsewhere")
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    with pytest.raises(DataError, match="base"):
        check_sizes(shards, files(shards))


def test_a_changed_byte_is_found_by_the_digest_and_both_digests_are_named(shards: Path) -> None:
    check_digests(shards, files(shards))
    path = shards / "base" / "00001.tar"
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(bytes(data))
    check_sizes(shards, files(shards))
    entry = next(entry for entry in files(shards) if entry.file == "base/00001.tar")
    with pytest.raises(DataError, match=entry.sha256) as error:
        check_digests(shards, files(shards))
    assert file_entry(shards, "base/00001.tar").sha256 in str(error.value)


def test_files_are_read_once_for_each_state(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    digest = verify._digest
    monkeypatch.setattr(verify, "_digest", lambda path: read.append(path.name) or digest(path))
    (shards / STAMPS).unlink()
    check_digests(shards, files(shards))
    assert len(read) == len(files(shards)) == 5
    check_digests(shards, files(shards))
    assert len(read) == 5
    os.utime(shards / "base" / "00000.tar", ns=(1, 1))
    check_digests(shards, files(shards))
    assert read[5:] == ["00000.tar"]


def test_data_prepare_leaves_nothing_to_verify_on_its_own_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(make_clips(tmp_path / "clips", clips=1, images=0), tmp_path / "shards")

    def never(path: Path) -> str:
        raise AssertionError(path)

    monkeypatch.setattr(verify, "_digest", never)
    check_digests(tmp_path / "shards", files(tmp_path / "shards"))


def test_a_stamp_for_another_digest_does_not_count(shards: Path) -> None:
    wrong = [dataclasses.replace(entry, sha256=DIGEST) for entry in files(shards)]
    with pytest.raises(DataError, match="SHA-256"):
        check_digests(shards, wrong)


@pytest.mark.parametrize("content", [b"", b"[]", b"nonsense", b"[" * 100_000])
def test_damaged_stamps_cost_time_and_nothing_else(shards: Path, content: bytes) -> None:
    (shards / STAMPS).write_bytes(content)
    check_digests(shards, files(shards))


def test_a_folder_that_cannot_be_written_to_is_verified_all_the_same(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_video.errors import InputError

    def refuse(path: Path) -> Any:
        raise InputError(str(path), "read-only", "writable", "never mind")

    (shards / STAMPS).unlink()
    monkeypatch.setattr(verify, "replacing", refuse)
    check_digests(shards, files(shards))
    assert not (shards / STAMPS).exists()
