from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imagen_video.cascade import bundle as bundle_module
from imagen_video.cascade.bundle import MAX_JSON_BYTES, Bundle, save_bundle
from imagen_video.errors import BundleError, InputError, ResourceError
from unit.cascade.small_cascades import small_cascade, small_networks

SPEC = small_cascade()
NETWORKS = small_networks(SPEC)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_bundle(tmp_path / "b", SPEC, NETWORKS, provenance={"data": "none"})
    return tmp_path / "b"


def weights(folder: Path, stage: str = "base") -> Path:
    return folder / stage / "model.safetensors"


def assert_refused(folder: Path, stage: str = "base") -> None:
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder).network(stage)
    error = caught.value
    assert all((error.where, error.got, error.expected, error.fix))


def without_digest(folder: Path) -> None:
    data = json.loads((folder / "cascade.json").read_text())
    data["provenance"].pop("sha256")
    (folder / "cascade.json").write_text(json.dumps(data))


def change_header(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def test_weights_come_back_as_float16_rounds_them(saved: Path) -> None:
    bundle = Bundle.open(saved)
    assert bundle.spec == SPEC
    assert bundle.provenance["data"] == "none"
    for name, network in NETWORKS.items():
        loaded = bundle.network(name).state_dict()
        for key, tensor in network.state_dict().items():
            assert loaded[key].dtype == torch.float32
            assert torch.equal(loaded[key], tensor.half().float())


def test_weights_saved_as_float32_come_back_bit_for_bit(tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "b", SPEC, NETWORKS, dtype=torch.float32)
    loaded = bundle.network("ssr1").state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in NETWORKS["ssr1"].state_dict().items())


def test_a_bundle_has_no_encoder_weights_and_no_pickle(saved: Path) -> None:
    assert {p.name for p in saved.rglob("*") if p.is_file()} == {
        "cascade.json",
        "text_encoder.json",
        "config.json",
        "model.safetensors",
        "README.md",
    }


def test_a_stage_without_weights_is_named_and_the_others_work(tmp_path: Path) -> None:
    bundle = save_bundle(tmp_path / "b", SPEC, {"base": NETWORKS["base"]})
    assert bundle.has_weights("base")
    assert not bundle.has_weights("ssr1")
    bundle.network("base")
    with pytest.raises(BundleError, match="ssr1"):
        bundle.network("ssr1")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_cut_file_is_refused(saved: Path, keep: int) -> None:
    raw = weights(saved).read_bytes()
    weights(saved).write_bytes(raw[:keep])
    assert_refused(saved)
    without_digest(saved)
    assert_refused(saved)


def test_changed_bytes_are_found_by_the_hash(saved: Path) -> None:
    raw = bytearray(weights(saved).read_bytes())
    raw[-1] ^= 1
    weights(saved).write_bytes(raw)
    assert_refused(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.pop(sorted(h)[0]),
        lambda h: h.update(extra=h[sorted(h)[0]]),
        lambda h: h[sorted(h)[0]].update(shape=[1]),
        lambda h: h[sorted(h)[0]].update(dtype="F64"),
        lambda h: h[sorted(h)[0]].update(dtype=["F16"]),
        lambda h: h[sorted(h)[0]].update(data_offsets=[-8, 8]),
        lambda h: h[sorted(h)[0]].update(data_offsets=[0]),
        lambda h: h[sorted(h)[0]].update(data_offsets=["0", "8"]),
        lambda h: h[sorted(h)[0]].update(shape=[1 << 40, 1 << 40]),
        lambda h: h.update({sorted(h)[0]: 5}),
        lambda h: h.update(__metadata__=5),
    ],
)
def test_a_header_that_is_not_the_specs_is_refused(
    saved: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    without_digest(saved)
    change_header(weights(saved), change)
    assert_refused(saved)


def test_overlapping_tensors_are_refused(saved: Path) -> None:
    without_digest(saved)

    def overlap(header: dict[str, Any]) -> None:
        names = sorted(header)
        twins = [
            (a, b)
            for a in names
            for b in names
            if a < b and header[a]["shape"] == header[b]["shape"]
        ]
        first, second = twins[0]
        header[second]["data_offsets"] = header[first]["data_offsets"]

    change_header(weights(saved), overlap)
    assert_refused(saved)


@pytest.mark.parametrize("length", [0, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_lying_header_length_allocates_nothing(saved: Path, length: int) -> None:
    without_digest(saved)
    raw = weights(saved).read_bytes()
    weights(saved).write_bytes(struct.pack("<Q", length) + raw[8:])
    assert_refused(saved)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{", "[]", "\xff", "3"])
def test_bad_json_is_refused(saved: Path, text: str) -> None:
    (saved / "cascade.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError):
        Bundle.open(saved)


def test_a_nested_header_is_refused(saved: Path) -> None:
    without_digest(saved)
    text = b"[" * 200_000
    weights(saved).write_bytes(struct.pack("<Q", len(text)) + text)
    assert_refused(saved)


def test_a_huge_json_file_is_not_read(saved: Path) -> None:
    with (saved / "cascade.json").open("wb") as file:
        file.truncate(MAX_JSON_BYTES + 1)
    with pytest.raises(BundleError, match=f"at most {MAX_JSON_BYTES}"):
        Bundle.open(saved)


@pytest.mark.parametrize("schema", [None, 0, 2, "1"])
def test_another_schema_is_refused(saved: Path, schema: object) -> None:
    data = json.loads((saved / "cascade.json").read_text())
    data["schema"] = schema
    (saved / "cascade.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match="schema"):
        Bundle.open(saved)


@pytest.mark.parametrize("name", ["../x", "/etc", "a/../../b", "."])
def test_no_stage_name_leads_out_of_the_folder(saved: Path, name: str) -> None:
    data = json.loads((saved / "cascade.json").read_text())
    data["cascade"]["stages"][0]["name"] = name
    (saved / "cascade.json").write_text(json.dumps(data))
    with pytest.raises(BundleError):
        Bundle.open(saved)


def test_a_link_out_of_the_folder_is_refused(saved: Path, tmp_path: Path) -> None:
    shutil.move(weights(saved), tmp_path / "outside")
    weights(saved).symlink_to(tmp_path / "outside")
    assert_refused(saved)


def test_a_linked_stage_folder_out_of_the_bundle_is_refused(saved: Path, tmp_path: Path) -> None:
    shutil.move(saved / "base", tmp_path / "outside")
    (saved / "base").symlink_to(tmp_path / "outside")
    assert_refused(saved)


@pytest.mark.parametrize("name", ["cascade.json", "text_encoder.json"])
def test_json_that_never_ends_is_not_read(saved: Path, name: str) -> None:
    (saved / name).unlink()
    (saved / name).symlink_to("/dev/zero")
    with pytest.raises(BundleError, match=r"no plain file|no cascade\.json"):
        Bundle.open(saved)
    (saved / name).unlink()
    os.mkfifo(saved / name)
    with pytest.raises(BundleError, match=r"no plain file|no cascade\.json"):
        Bundle.open(saved)


def test_linked_json_out_of_the_bundle_is_refused(saved: Path, tmp_path: Path) -> None:
    outside = (saved / "cascade.json").rename(tmp_path / "outside.json")
    (saved / "cascade.json").symlink_to(outside)
    with pytest.raises(BundleError, match="leaves the bundle"):
        Bundle.open(saved)


def test_a_snapshot_may_link_to_its_own_store_and_to_nothing_else(tmp_path: Path) -> None:
    """The layout of hub caches: snapshots/COMMIT/file -> ../../blobs/HASH."""
    made = save_bundle(tmp_path / "models--x" / "snapshots" / "abc", SPEC, {}).path
    blobs = tmp_path / "models--x" / "blobs"
    blobs.mkdir()
    (made / "cascade.json").rename(blobs / "1")
    (made / "cascade.json").symlink_to(blobs / "1")
    assert Bundle.open(made).spec == SPEC
    (blobs / "1").rename(tmp_path / "elsewhere")
    (made / "cascade.json").unlink()
    (made / "cascade.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="leaves the bundle"):
        Bundle.open(made)


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(BundleError, match=r"no cascade\.json"):
        Bundle.open(tmp_path / place)


def test_saving_again_replaces_the_bundle(saved: Path) -> None:
    save_bundle(saved, SPEC, {"base": NETWORKS["base"]})
    assert not weights(saved, "ssr1").exists()
    assert [p.name for p in saved.parent.iterdir()] == ["b"]


def test_a_folder_with_other_things_and_a_file_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("dear")
    with pytest.raises(InputError, match="not a bundle"):
        save_bundle(tmp_path, SPEC, NETWORKS)
    with pytest.raises(InputError, match="file"):
        save_bundle(tmp_path / "diary.txt", SPEC, NETWORKS)
    assert [p.name for p in tmp_path.iterdir()] == ["diary.txt"]


def test_a_failed_save_leaves_the_old_bundle_and_nothing_else(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Bundle.open(saved).digest

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_module, "write_tensors", fail)
    with pytest.raises(ResourceError, match="No space"):
        save_bundle(saved, SPEC, NETWORKS)
    assert [p.name for p in saved.parent.iterdir()] == ["b"]
    assert Bundle.open(saved).digest == before


FULL_DISK = """
import resource, sys
sys.path[:0] = sys.argv[2:]
from unit.cascade.small_cascades import small_cascade, small_networks
from imagen_video.cascade.bundle import save_bundle
from imagen_video.errors import ResourceError
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
spec = small_cascade()
try:
    save_bundle(sys.argv[1], spec, small_networks(spec))
except ResourceError as error:
    print("refused", error.__cause__)
"""


def test_a_disk_that_really_takes_no_more_is_reported_as_full(tmp_path: Path) -> None:
    """safetensors has its own error for a failed write: it must not get past us."""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path / "b", root / "src", root / "tests"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "serializ" in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())
