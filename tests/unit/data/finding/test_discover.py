from __future__ import annotations

import inspect
import json
import os
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagen_video.data.clips.labels import Label, LabelFields
from imagen_video.data.clips.records import Record
from imagen_video.data.finding.discover import DiscoverOptions, class_names, discover
from imagen_video.errors import DataError
from imagen_video.media.pictures import write_animation, write_png
from unit.data.clip_files import add, found, mp4, numbered, only


def touch(root: Path, *names: str) -> None:
    """Empty files: discovery opens no clip but PNG and WebP, and judges none."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_is_walked_in_the_same_order_everywhere(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.mp4", "b/10.webm", "a/x.GIF", "c.mov", "notes.md", ".hidden.mp4")
    touch(tmp_path, ".git/1.mp4", "__MACOSX/1.mp4", "d.npy", "b/deep/er/z.avi")
    records, dropped = found(tmp_path)
    assert not dropped
    assert {ident: record.kind for ident, record in records.items()} == {
        "c.mov": "video",
        "d.npy": "array",
        "a/x.GIF": "animation",
        "b/10.webm": "video",
        "b/2.mp4": "video",
        "b/deep/er/z.avi": "video",
    }
    assert list(records) == [
        "c.mov", "d.npy", "a/x.GIF", "b/10.webm", "b/2.mp4", "b/deep/er/z.avi"
    ]  # fmt: skip


def test_every_suffix_is_counted_whatever_it_is(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.MP4", "c.txt", "Makefile", "x/d.csvx")
    seen: Counter[str] = Counter()
    list(discover(tmp_path, extensions=seen))
    assert seen == {".mp4": 2, ".txt": 1, "(none)": 1, ".csvx": 1}


def test_pngs_and_webps_that_move_are_told_from_those_that_do_not(tmp_path: Path) -> None:
    from PIL import Image

    frames = numbered(3)
    pictures = [Image.fromarray(frame) for frame in frames]
    write_png(tmp_path / "still.png", frames[0])
    write_animation(tmp_path / "moving.png", frames, fps=10)
    pictures[0].save(tmp_path / "still.webp")
    pictures[0].save(tmp_path / "moving.webp", save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / "photo.jpg")
    records, _ = found(tmp_path)
    kinds = {ident: record.kind for ident, record in records.items()}
    assert {ident for ident, kind in kinds.items() if kind == "animation"} == {
        "moving.png",
        "moving.webp",
    }
    assert {ident for ident, kind in kinds.items() if kind == "image"} == {
        "still.png",
        "still.webp",
        "photo.jpg",
    }


def test_sidecars_beside_a_clip_are_its_label(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.c.mp4", "d.mp4")
    (tmp_path / "a.txt").write_text("from text")
    (tmp_path / "a.json").write_text('{"class": 4, "vector": "1 2"}')
    (tmp_path / "b.c.txt").write_text("dots")
    records, _ = found(tmp_path)
    assert records["a.mp4"].label == Label(caption="from text", class_id=4, vector=(1.0, 2.0))
    assert records["b.c.mp4"].label == Label(caption="dots")
    assert records["d.mp4"].label == Label()


@pytest.mark.parametrize("name", ["metadata.csv", "captions.jsonl", "elsewhere.csv"])
def test_a_table_labels_the_clips_of_a_folder_and_wins_over_sidecars(
    tmp_path: Path, name: str
) -> None:
    root = tmp_path / "clips"
    touch(root, "x/a.mp4", "x/b.mp4", "c.mp4")
    (root / "x/a.txt").write_text("beside")
    rows = [("x/a.mp4", "table"), ("x/b", "no suffix"), ("gone.mp4", "?"), ("../up.mp4", "?")]
    table = root / name if name != "elsewhere.csv" else tmp_path / name
    if name.endswith(".csv"):
        table.write_text("file,caption\n" + "".join(f"{a},{b}\n" for a, b in rows))
    else:
        table.write_text("".join(json.dumps({"file": a, "caption": b}) + "\n" for a, b in rows))
    records, dropped = found(root, labels=table if name == "elsewhere.csv" else None)
    captions = {ident: record.label.caption for ident, record in records.items()}
    assert captions == {"x/a.mp4": "table", "x/b.mp4": "no suffix", "c.mp4": None}
    assert {ident: drop.reason for ident, drop in dropped.items()} == {
        "gone.mp4": "no such clip",
        "../up.mp4": "no such clip",
    }
    assert f"{name} line" in dropped["gone.mp4"].detail


def test_a_table_as_path_names_the_clips(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.mp4", "in/b.mp4", "in/c.mp4", "in/notes.md", "out.mp4")
    inside = tmp_path / "in"
    (inside / "link.mp4").symlink_to(tmp_path / "out.mp4")
    (inside / "folder").symlink_to(tmp_path)
    rows = ["b.mp4", str(inside / "a.mp4"), "../out.mp4", str(tmp_path / "out.mp4"), "link.mp4"]
    rows += ["folder/out.mp4", "gone.mp4", "notes.md", "/etc/passwd"]
    (inside / "list.csv").write_text("path,text\n" + "".join(f"{row},t\n" for row in rows))
    records, dropped = found(inside / "list.csv")
    assert list(records) == ["b.mp4", "a.mp4"]
    assert records["a.mp4"].label.caption == "t"
    reasons = {ident: drop.reason for ident, drop in dropped.items()}
    assert reasons == {
        "../out.mp4": "unsafe path",
        str(tmp_path / "out.mp4"): "unsafe path",
        "/etc/passwd": "unsafe path",
        "folder/out.mp4": "unsafe path",
        "link.mp4": "unsafe path",
        "gone.mp4": "no such file",
        "notes.md": "unsupported format",
    }


def test_two_tables_are_a_question_to_the_user(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "metadata.csv", "captions.csv")
    with pytest.raises(DataError, match="--labels"):
        found(tmp_path)


def test_the_first_folder_is_the_class_if_asked(tmp_path: Path) -> None:
    touch(tmp_path, "dog/a.mp4", "cat/x/b.mp4", "top.mp4")
    records, _ = found(tmp_path, classes_from_folders=True)
    ids = {ident: record.label.class_id for ident, record in records.items()}
    assert ids == {"cat/x/b.mp4": 0, "dog/a.mp4": 1, "top.mp4": None}
    options = DiscoverOptions(classes_from_folders=True)
    assert class_names(tmp_path, options) == ("cat", "dog")
    assert found(tmp_path)[0]["dog/a.mp4"].label == Label()


def test_given_class_names_fix_the_ids_and_refuse_other_folders(tmp_path: Path) -> None:
    touch(tmp_path, "dog/a.mp4", "cat/b.mp4")
    fields = LabelFields(class_names=("dog", "horse"))
    records, dropped = found(tmp_path, classes_from_folders=True, fields=fields)
    assert records["dog/a.mp4"].label.class_id == 0
    assert dropped["cat/b.mp4"].reason == "unusable label"


def test_members_of_a_tar_are_grouped_by_key(tmp_path: Path) -> None:
    clip = mp4(tmp_path / "clip.mp4")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "t/0.mp4", clip)
        add(tar, "t/0.txt", b"first")
        add(tar, "u/0.txt", b"another folder, another key")
        add(tar, "t/1.cls", b"5")
        add(tar, "u/0.seg.mp4", clip)
        add(tar, "t/1.mp4", clip)
        add(tar, "t/1.jpg", b"\xff\xd8\xff a thumbnail")
        add(tar, "t/2.wmv", b"old")
        add(tar, "t/._0.mp4", b"macOS")
    records, dropped = found(tmp_path / "a.tar")
    assert {ident: record.label for ident, record in records.items()} == {
        "a.tar!t/0.mp4": Label(caption="first"),
        "a.tar!u/0.seg.mp4": Label(caption="another folder, another key"),
        "a.tar!t/1.mp4": Label(class_id=5),
    }
    assert {ident: drop.reason for ident, drop in dropped.items()} == {
        "a.tar!t/1.jpg": "second clip of a key",
        "a.tar!t/2.wmv": "unsupported format",
    }


def test_tars_in_a_folder_keep_their_path_in_the_id(tmp_path: Path) -> None:
    clip = mp4(tmp_path / "in" / "cat" / "clip.mp4")
    with tarfile.open(tmp_path / "in" / "cat" / "a.tar", "w") as tar:
        add(tar, "x/0.mp4", clip)
        add(tar, "x/0.mp4", clip)
    records, dropped = found(tmp_path / "in", classes_from_folders=True)
    assert records["cat/a.tar!x/0.mp4"].label.class_id == 0
    assert [drop.reason for drop in dropped.values()] == ["name taken"]


def test_a_folder_of_pictures_is_one_clip_if_asked(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        (tmp_path / "runs").mkdir(exist_ok=True)
        write_png(tmp_path / "runs" / f"f{number}.png", numbered(number)[-1])
    (tmp_path / "runs.txt").write_text("it runs")
    assert len(found(tmp_path)[0]) == 3
    record = only(tmp_path, frame_folders=True, fps=12)
    assert (record.id, record.kind, record.fps) == ("runs", "video", 12)
    assert record.media.frames == ("f1.png", "f2.png", "f10.png")
    assert record.label.caption == "it runs"
    assert only(tmp_path / "runs", frame_folders=True).id == "runs"


def test_one_file_is_a_data_set_of_one(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbered(2))
    (tmp_path / "a.txt").write_text("one")
    touch(tmp_path, "b.mp4")
    record = only(tmp_path / "a.npy", fps=8, value_range=(-1.0, 1.0))
    assert (record.label.caption, record.fps, record.value_range) == ("one", 8, (-1.0, 1.0))


def test_a_link_that_the_user_names_is_opened(tmp_path: Path) -> None:
    touch(tmp_path, "far/a.mp4", "far/sub/b.mp4")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "a.mp4").symlink_to(tmp_path / "far" / "a.mp4")
    (tmp_path / "folder").symlink_to(tmp_path / "far")
    assert only(tmp_path / "near" / "a.mp4").id == "a.mp4"
    assert set(found(tmp_path / "folder")[0]) == {"a.mp4", "sub/b.mp4"}


def test_unsupported_formats_and_archives_are_named_with_what_to_do(tmp_path: Path) -> None:
    touch(tmp_path, "a.wmv", "b.tiff", "c.tar.gz", "d.h5")
    records, dropped = found(tmp_path)
    assert not records
    assert {drop.reason for drop in dropped.values()} == {"unsupported format"}
    assert "unpack" in dropped["c.tar.gz"].detail
    assert ".npy" in dropped["d.h5"].detail


def test_links_are_followed_to_files_inside_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(tmp_path, "secret.mp4", "secret.txt", "root/a.mp4", "root/sub/b.mp4")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "inside.mp4").symlink_to(root / "sub" / "b.mp4")
    (root / "outside.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "a.txt").symlink_to(tmp_path / "secret.txt")
    (root / "round").symlink_to(root)
    (root / "broken.mp4").symlink_to(root / "none.mp4")
    (root / "self.mp4").symlink_to(root / "self.mp4")
    records, dropped = found(root)
    assert set(records) == {"a.mp4", "inside.mp4", "sub/b.mp4"}
    assert records["inside.mp4"].media.path == root / "sub" / "b.mp4"
    assert records["a.mp4"].label.caption is None
    assert {ident: drop.reason for ident, drop in dropped.items()} == dict.fromkeys(
        ("outside.mp4", "round", "broken.mp4", "self.mp4"), "unsafe link"
    )


def test_pipes_are_not_opened_and_odd_names_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    touch(tmp_path, "line\nbreak.mp4", "fine.mp4")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/latin\xe9.mp4"))).touch()
    records, dropped = found(tmp_path)
    assert set(records) == {"fine.mp4"}
    reasons = {ident: drop.reason for ident, drop in dropped.items()}
    assert reasons == {
        "pipe.mp4": "not a regular file",
        "line\\nbreak.mp4": "unusable file name",
        "latin\\udce9.mp4": "unusable file name",
    }


def test_a_tree_deeper_than_the_stack_is_walked(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(300):
        folder = folder / "d"
        folder.mkdir()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 200)
    try:
        assert found(tmp_path) == ({}, {})
    finally:
        sys.setrecursionlimit(limit)


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "closed/a.mp4", "b.mp4")
    scandir = os.scandir

    def refusing(folder: Path) -> Any:  # permissions would not stop a test that runs as root
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    records, dropped = found(tmp_path)
    assert set(records) == {"b.mp4"}
    assert (dropped["closed"].reason, dropped["closed"].detail) == (
        "unreadable folder",
        "Permission denied",
    )


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        list(discover(tmp_path / "none"))
    touch(tmp_path, "a.mp4")
    with pytest.raises(DataError, match=r"none\.csv"):
        found(tmp_path, labels=tmp_path / "none.csv")


def test_a_record_survives_json(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbered(2))
    (tmp_path / "a.json").write_text('{"caption": "c", "class": 1, "vector": [0.1, 2]}')
    record = only(tmp_path)
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record
