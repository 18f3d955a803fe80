"""What a manifest says is finished is finished, whatever happened while it was written."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from imagen_video.distributed.manifest import NAME, Manifest
from imagen_video.errors import InputError, ResourceError
from unit.distributed.batch_samples import failed, made, sample


def note(folder: Path, *names: str) -> None:
    with Manifest(folder).opened() as manifest:
        for name in names:
            manifest.add(sample(name), made(folder, name))


def test_a_made_sample_is_finished_and_a_failed_one_is_not(tmp_path: Path) -> None:
    with Manifest(tmp_path).opened() as manifest:
        manifest.add(sample("a"), made(tmp_path, "a"))
        manifest.add(sample("b"), failed("b"))
    assert Manifest(tmp_path).finished([sample("a"), sample("b"), sample("c")]) == {"a"}
    entry = Manifest(tmp_path).entries()["b"]
    assert (entry["status"], entry["error"]) == ("failed", "it broke")


def test_a_later_line_of_a_sample_counts(tmp_path: Path) -> None:
    with Manifest(tmp_path).opened() as manifest:
        manifest.add(sample("a"), failed("a"))
        manifest.add(sample("a"), made(tmp_path, "a"))
    assert Manifest(tmp_path).finished([sample("a")]) == {"a"}


@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_a_video_that_is_not_the_one_that_was_made_is_made_again(
    tmp_path: Path, damage: str
) -> None:
    note(tmp_path, "a")
    video = tmp_path / "a.mp4"
    if damage == "removed":
        video.unlink()
    else:
        video.write_bytes(b"other")
    assert not Manifest(tmp_path).finished([sample("a")])


def test_a_line_torn_by_a_crash_costs_that_line_alone(tmp_path: Path) -> None:
    note(tmp_path, "a", "b")
    path = tmp_path / NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert Manifest(tmp_path).finished([sample("a"), sample("b")]) == {"a"}
    note(tmp_path, "c")
    assert set(Manifest(tmp_path).entries()) == {"a", "c"}


def test_lines_that_are_no_entries_are_ignored(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('[1]\n"a"\n{"id": 3}\n\nnull\n{"no": "id"}\n', encoding="utf-8")
    assert not Manifest(tmp_path).entries()


def test_another_setting_for_the_same_id_is_refused_with_both_values(tmp_path: Path) -> None:
    note(tmp_path, "a")
    with pytest.raises(InputError, match=r"sample 'a', seed: got 5; expected 0, with which"):
        Manifest(tmp_path).finished([sample("a", seed=5)])


def test_a_bundle_that_lies_elsewhere_is_the_same_bundle(tmp_path: Path) -> None:
    note(tmp_path, "a")
    assert Manifest(tmp_path).finished([sample("a", bundle="there")]) == {"a"}


def test_two_batches_cannot_write_to_one_folder(tmp_path: Path) -> None:
    with (
        Manifest(tmp_path).opened(),
        pytest.raises(InputError, match="another batch"),
        Manifest(tmp_path).opened(),
    ):
        pass
    with Manifest(tmp_path).opened():
        pass  # the first one has let it go


def test_half_written_videos_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".a.mp4.0123abcd.tmp").write_bytes(b"half")
    note(tmp_path, "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.mp4", NAME]


def test_a_full_disk_is_said_and_keeps_earlier_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(tmp_path, "a")

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Manifest(tmp_path).opened() as manifest, monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(ResourceError, match=NAME):
            manifest.add(sample("b"), made(tmp_path, "b"))
    assert Manifest(tmp_path).finished([sample("a"), sample("b")]) == {"a"}


def test_a_line_has_all_that_is_needed_to_make_the_video_again(tmp_path: Path) -> None:
    note(tmp_path, "a")
    entry = json.loads((tmp_path / NAME).read_text("utf-8"))
    assert entry["settings"] == sample("a").settings
    assert entry["stages"][0]["seconds"] == 1.0
    assert {"version", "finished", "sha256", "num_bytes"} <= entry.keys()
