from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from imagen_video.errors import BundleError
from imagen_video.presets import preset
from imagen_video.text.minilm import MiniLMEncoder
from imagen_video.text.registry import ENCODERS, FIELDS, build_text_encoder, checked_identity
from imagen_video.text.t5 import T5Encoder

T5 = {
    "encoder": "t5",
    "source": "google/t5-v1_1-xxl",
    "fingerprint": "0" * 32,
    "dtype": "bfloat16",
    "width": 4096,
    "max_tokens": 128,
}


def test_every_encoder_has_its_fields_listed() -> None:
    assert set(ENCODERS) == set(FIELDS)


def test_an_identity_written_to_json_rebuilds_the_encoder(minilm: MiniLMEncoder) -> None:
    again = build_text_encoder(json.loads(json.dumps(minilm.identity)))
    assert again.identity == minilm.identity
    prompt = ["two red birds"]
    assert torch.equal(again.encode(prompt).states, minilm.encode(prompt).states)


def test_t5_is_rebuilt_from_another_place(tiny_t5: Path) -> None:
    identity = T5Encoder(tiny_t5, dtype="float32").identity
    moved = build_text_encoder(identity | {"source": "/elsewhere"}, source=tiny_t5)
    assert moved.width == identity["width"]


def test_a_preset_need_not_pin_the_weights_of_t5(tiny_t5: Path) -> None:
    pinned = T5Encoder(tiny_t5, dtype="float32").identity
    loose = {name: value for name, value in pinned.items() if name != "fingerprint"}
    assert build_text_encoder(loose).identity == pinned
    assert checked_identity(preset("paper").text_encoder)["source"] == "google/t5-v1_1-xxl"


def test_a_width_that_is_not_the_encoders_is_refused(tiny_t5: Path) -> None:
    identity = T5Encoder(tiny_t5, dtype="float32").identity
    with pytest.raises(BundleError, match="width"):
        build_text_encoder(identity | {"width": 4096})


def test_other_minilm_weights_are_refused_before_anything_is_loaded(
    minilm: MiniLMEncoder,
) -> None:
    with pytest.raises(BundleError, match="weights_sha256"):
        build_text_encoder(minilm.identity | {"weights_sha256": "0" * 64})


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in T5.items() if name != field}


@pytest.mark.parametrize(
    "identity",
    [
        None,
        [],
        "t5",
        {},
        {"encoder": "clip"},
        {"encoder": 3},
        {"encoder": ["t5"]},
        without("dtype"),
        without("width"),
        T5 | {"extra": 1},
        T5 | {1: 2},
        T5 | {"width": "4096"},
        T5 | {"width": True},
        T5 | {"width": 0},
        T5 | {"max_tokens": -1},
        T5 | {"max_tokens": 1 << 40},
        T5 | {"max_tokens": 12.5},
        T5 | {"dtype": "float16"},
        T5 | {"source": None},
    ],
)
def test_damaged_identities_are_refused_in_four_parts(identity: object) -> None:
    with pytest.raises(BundleError) as caught:
        checked_identity(identity)
    error = caught.value
    assert "text_encoder.json" in error.where
    assert error.got
    assert error.expected
    assert error.fix


def test_a_complete_identity_passes() -> None:
    assert checked_identity(T5) == T5
