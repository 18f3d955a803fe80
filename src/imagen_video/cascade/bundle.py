"""Bundles: trained cascades as folders of JSON and safetensors, treated as hostile when read.

    BUNDLE/cascade.json            schema version, spec, provenance
           text_encoder.json       which encoder, never its weights
           STAGE/config.json       the stage's spec    STAGE/model.safetensors
           README.md               the model card, for people; never read

Sizes and shapes are checked against the spec before anything is allocated; nothing is unpickled and
no path leaves the folder. A stage without weights may be missing: the rest can still be used.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import secrets
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imagen_video.cascade.model_card import CARD_FILE, model_card
from imagen_video.cascade.spec import CascadeSpec
from imagen_video.cascade.weights_file import write_tensors
from imagen_video.errors import BundleError, InputError
from imagen_video.media.atomic import writing_error
from imagen_video.media.digest import file_sha256
from imagen_video.models.unet import VideoUNet

SCHEMA_VERSION = 1
MAX_JSON_BYTES = 4 << 20
MAX_HEADER_BYTES = 16 << 20
ELEMENT_BYTES = {"F16": 2, "BF16": 2, "F32": 4}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle on disk, its spec read and checked."""

    path: Path
    spec: CascadeSpec
    provenance: Mapping[str, Any]
    """How the weights came about: data, steps, time, hashes."""

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read and check the JSON files of a bundle.

        Raises:
            BundleError: if it is not there, damaged, or of a newer schema.
        """
        folder = Path(path)
        if not (folder / "cascade.json").is_file():
            raise BundleError(
                str(folder),
                "no cascade.json",
                "a bundle folder or a built-in name",
                "check the name or the path",
            )
        data = _read_json(folder / "cascade.json")
        if data.get("schema") != SCHEMA_VERSION:
            raise BundleError(
                str(folder / "cascade.json"),
                f"schema {data.get('schema')!r}",
                f"{SCHEMA_VERSION}",
                "update imagen-video",
            )
        encoder = folder / "text_encoder.json"
        cascade = data.get("cascade")
        if isinstance(cascade, dict):
            told = _read_json(encoder) if os.path.lexists(encoder) else None
            cascade = {**cascade, "text_encoder": told}
        try:
            spec = CascadeSpec.from_json(cascade, "cascade.json")
        except InputError as error:
            raise BundleError(error.where, error.got, error.expected, error.fix) from error
        provenance = data.get("provenance")
        return cls(
            path=folder, spec=spec, provenance=provenance if isinstance(provenance, dict) else {}
        )

    def has_weights(self, stage: str) -> bool:
        """Whether the weights of a stage are there."""
        return self._weights(stage).is_file()

    def network(self, stage: str, device: torch.device | str = "cpu") -> VideoUNet:
        """Build a stage's network with its weights as fp32, in eval mode.

        Raises:
            BundleError: if the file is missing, truncated, tampered with, or not the spec's.
        """
        network = self._checked(stage)
        path = self._weights(stage)
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            weights = {name: tensor.float() for name, tensor in load_file(path).items()}
        except SafetensorError as error:  # overlapping tensors, bad metadata
            raise BundleError(str(path), str(error), "safetensors", "fetch it again") from error
        network.load_state_dict(weights, assign=True)
        return network.to(device=device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]

    def check_weights(self, stage: str) -> None:
        """Check a stage's file without loading it.

        Raises:
            BundleError: if the file is missing, truncated, tampered with, or not the spec's.
        """
        self._checked(stage)

    @property
    def digest(self) -> str:
        """SHA-256 over cascade.json and the recorded hashes in it: identifies the bundle."""
        return file_sha256(self.path / "cascade.json")

    def _checked(self, stage: str) -> VideoUNet:
        """Check a stage's file and return its network on the meta device."""
        path = self._weights(stage)
        if not path.is_file():
            raise BundleError(
                str(path),
                "no file",
                f"the weights of stage {stage!r}",
                "use --until an earlier stage",
            )
        with torch.device("meta"):
            network = VideoUNet(self.spec.stage(stage).unet)
        check_safetensors(path, network.state_dict())
        digest = self._expected_digest(stage)
        if digest is not None and file_sha256(path) != digest:
            raise BundleError(
                str(path), "contents with another SHA-256 than recorded", digest, "fetch it again"
            )
        return network

    def _weights(self, stage: str) -> Path:
        # the name was checked against [a-z0-9_] when the spec was built: it cannot leave the folder
        path = self.path / self.spec.stage(stage).name / "model.safetensors"
        _check_inside(path, self.path)
        return path

    def _expected_digest(self, stage: str) -> str | None:
        hashes = self.provenance.get("sha256")
        value = hashes.get(stage) if isinstance(hashes, dict) else None
        return value if isinstance(value, str) else None


def save_bundle(
    path: str | Path,
    spec: CascadeSpec,
    networks: Mapping[str, nn.Module],
    *,
    provenance: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> Bundle:
    """Write a bundle beside its place and rename it there; an existing bundle is replaced.

    Args:
        path: folder to make.
        spec: the cascade.
        networks: by stage name; stages without one are written without weights.
        provenance: JSON values; the SHA-256 of every weight file is added.
        dtype: of the stored weights.

    Raises:
        InputError: if the folder cannot be written, or exists and is not a bundle.
        ResourceError: if the disk is full.
    """
    final = Path(path)
    if final.exists() and not final.is_dir():
        raise InputError(str(final), "a file", "a folder", "choose another place")
    if final.exists() and not (final / "cascade.json").is_file() and any(final.iterdir()):
        raise InputError(
            str(final),
            "a folder that is not a bundle",
            "a new or empty folder",
            "choose another place",
        )
    temporary = final.with_name(f".{final.name}.{secrets.token_hex(4)}.tmp")
    hashes: dict[str, str] = {}
    try:
        temporary.mkdir(parents=True)
        for stage in spec.stages:
            folder = temporary / stage.name
            folder.mkdir()
            _write_json(folder / "config.json", dataclasses.asdict(stage))
            if stage.name in networks:
                tensors = {
                    k: v.detach().to("cpu", dtype).contiguous()
                    for k, v in networks[stage.name].state_dict().items()
                }
                write_tensors(tensors, folder / "model.safetensors")
                hashes[stage.name] = file_sha256(folder / "model.safetensors")
        cascade = spec.to_json()
        encoder = cascade.pop("text_encoder")
        if encoder is not None:
            _write_json(temporary / "text_encoder.json", encoder)
        _write_json(
            temporary / "cascade.json",
            {
                "schema": SCHEMA_VERSION,
                "cascade": cascade,
                "provenance": {**(provenance or {}), "sha256": hashes},
            },
        )
        card = model_card(spec, provenance or {}, hashes)
        (temporary / CARD_FILE).write_text(card, encoding="utf-8")
        _put_in_place(temporary, final)
    except OSError as error:
        raise writing_error(final, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Bundle.open(final)


def _put_in_place(temporary: Path, final: Path) -> None:
    """Rename a finished bundle; the old one is put back if that fails."""
    if not final.exists():
        temporary.replace(final)
        return
    old = temporary.with_suffix(".old")
    final.replace(old)
    try:
        temporary.replace(final)
    except OSError:
        old.replace(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_safetensors(path: Path, expected: Mapping[str, Tensor]) -> None:
    """Compare a safetensors header with a network's tensors, before anything else is read.

    Raises:
        BundleError: on a damaged header, a missing or unknown tensor, another shape, or a wrong
            file size.
    """
    header, data_bytes = _read_header(path)
    header.pop("__metadata__", None)
    missing, unknown = (
        sorted(expected.keys() - header.keys()),
        sorted(header.keys() - expected.keys()),
    )
    if missing or unknown:
        raise BundleError(
            str(path),
            f"missing {missing[:3]}, unknown {unknown[:3]}",
            "the tensors of the stage's spec",
            "fetch it again",
        )
    for name, tensor in expected.items():
        entry = header[name]
        entry = entry if isinstance(entry, dict) else {}
        begin, end = _offsets(entry.get("data_offsets"))
        size = ELEMENT_BYTES.get(str(entry.get("dtype")), 0) * math.prod(tensor.shape)
        if (
            entry.get("shape") != list(tensor.shape)
            or end - begin != size
            or not 0 <= begin <= end <= data_bytes
        ):
            raise BundleError(
                f"{path} {name}",
                f"shape {entry.get('shape')!r} of {entry.get('dtype')!r}",
                f"{list(tensor.shape)}",
                "fetch the bundle again",
            )


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    total = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else -1
        if not 0 < length <= min(MAX_HEADER_BYTES, total - 8):
            raise BundleError(
                str(path),
                f"a header of {length} bytes in {total}",
                "a whole file",
                "fetch it again",
            )
        raw = file.read(length)
    try:
        header = json.loads(raw)
        if not isinstance(header, dict):
            raise ValueError("not an object")
        ends = [
            _offsets(e.get("data_offsets"))[1] for k, e in header.items() if k != "__metadata__"
        ]
    except (ValueError, AttributeError, RecursionError) as error:
        raise BundleError(str(path), "a damaged header", "safetensors", "fetch it again") from error
    if max(ends, default=0) != total - 8 - length:
        raise BundleError(
            str(path),
            f"{total - 8 - length} bytes of tensors",
            f"{max(ends, default=0)}",
            "fetch it again: it was cut",
        )
    return header, total - 8 - length


def _offsets(value: Any) -> tuple[int, int]:
    if isinstance(value, list) and len(value) == 2 and all(type(n) is int for n in value):
        return value[0], value[1]
    raise ValueError("bad offsets")


def _check_inside(path: Path, bundle: Path) -> None:
    """Refuse a link that leads out of the bundle.

    Hub caches (HOME/snapshots/COMMIT/...) link their files to HOME/blobs: fine for them alone.
    """
    held = bundle.resolve()
    for folder in (held, *held.parents):
        if folder.parent.name == "snapshots":
            held = folder.parents[1]
            break
    if not path.resolve().is_relative_to(held):
        raise BundleError(
            str(path), "a link that leaves the bundle", "a plain file", "copy the file"
        )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():  # a device or pipe has no size, and no end
        raise BundleError(str(path), "no plain file", "a JSON file", "fetch the bundle again")
    _check_inside(path, path.parent)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_JSON_BYTES + 1)
        data = json.loads(text.decode("utf-8")) if len(text) <= MAX_JSON_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(
            str(path), f"unreadable JSON ({error})", "a JSON object", "fetch the bundle again"
        ) from error
    if len(text) > MAX_JSON_BYTES:
        raise BundleError(
            str(path),
            f"more than {MAX_JSON_BYTES} bytes",
            f"at most {MAX_JSON_BYTES}",
            "fetch the bundle again",
        )
    if not isinstance(data, dict):
        raise BundleError(str(path), type(data).__name__, "a JSON object", "fetch the bundle again")
    return data


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")
