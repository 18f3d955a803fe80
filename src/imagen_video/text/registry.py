"""From the name in a bundle's `text_encoder.json` to an encoder, and the checks in between.

To add an encoder: a class with `identity`, `from_identity` and `encode`, and a row in `ENCODERS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from imagen_video.errors import BundleError
from imagen_video.text.base import TextEncoder
from imagen_video.text.minilm import MiniLMEncoder
from imagen_video.text.t5 import DTYPES, T5Encoder

ENCODERS: dict[str, type[MiniLMEncoder] | type[T5Encoder]] = {
    "minilm": MiniLMEncoder,
    "t5": T5Encoder,
}

_COMMON: dict[str, type] = {"encoder": str, "width": int, "max_tokens": int}

FIELDS: dict[str, dict[str, type]] = {
    "minilm": {**_COMMON, "package": str, "weights_sha256": str},
    "t5": {**_COMMON, "source": str, "fingerprint": str, "dtype": str},
}
"""Which fields an identity has and their JSON types."""

UNPINNED = frozenset({"fingerprint"})
"""Fields that a preset may leave out: it names the weights before anybody has them on disk."""

_FILE = "text_encoder.json"


def checked_identity(identity: object) -> dict[str, Any]:
    """Return an encoder's identity after checking every field; nothing is loaded.

    Args:
        identity: the parsed content of `text_encoder.json`.

    Returns:
        The same, known to be well typed and complete, but for fields that need not be pinned.

    Raises:
        BundleError: not an object, an unknown encoder, or a field missing, unknown or ill typed.
    """
    if not isinstance(identity, Mapping):
        raise BundleError(
            _FILE, f"a {type(identity).__name__}", "a JSON object", "restore the bundle's file"
        )
    name = identity.get("encoder")
    if not isinstance(name, str) or name not in ENCODERS:
        raise BundleError(
            f"{_FILE}, encoder",
            repr(name),
            " or ".join(sorted(ENCODERS)),
            "use a newer version of imagen-video, or restore the bundle's file",
        )
    fields = FIELDS[name]
    if set(identity) | UNPINNED & set(fields) != set(fields):
        raise BundleError(
            _FILE,
            f"the fields {', '.join(sorted(map(str, identity)))}",
            ", ".join(sorted(fields)),
            "restore the bundle's file",
        )
    for field in identity:
        _check_field(field, identity[field], fields[field])
    return dict(identity)


def _check_field(field: str, value: object, kind: type) -> None:
    # bool is an int to Python, but not a size to us.
    good = isinstance(value, kind) and not isinstance(value, bool)
    expected = {"str": "text", "int": "a whole number"}[kind.__name__]
    if good and isinstance(value, int):
        good, expected = 1 <= value <= 1 << 16, "1 to 65536"
    if good and field == "dtype":
        good, expected = value in DTYPES, " or ".join(DTYPES)
    if not good:
        raise BundleError(f"{_FILE}, {field}", repr(value), expected, "restore the bundle's file")


def build_text_encoder(
    identity: object,
    *,
    device: torch.device | str = "cpu",
    source: str | Path | None = None,
) -> TextEncoder:
    """Build the encoder that a bundle names and check that it is the same one.

    Args:
        identity: the parsed content of `text_encoder.json`.
        device: where the encoder runs.
        source: where T5's weights lie on this machine, if not where the bundle says.

    Returns:
        The loaded encoder.

    Raises:
        BundleError: a damaged identity, or weights that are missing or others than the bundle's.
        MissingExtraError: the package with the weights is not installed.
    """
    known = checked_identity(identity)
    if known["encoder"] == "t5":
        encoder: TextEncoder = T5Encoder.from_identity(known, device=device, source=source)
    else:
        encoder = ENCODERS[known["encoder"]].from_identity(known, device=device)
    if encoder.width != known["width"]:
        raise BundleError(
            f"{_FILE}, width",
            str(known["width"]),
            f"{encoder.width}, the encoder's own",
            "restore the bundle's file",
        )
    return encoder
