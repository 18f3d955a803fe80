from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from imagen_video.errors import BundleError, InputError
from imagen_video.text.t5 import T5Encoder


@pytest.fixture(scope="module")
def encoder(tiny_t5: Path) -> T5Encoder:
    return T5Encoder(tiny_t5, dtype="float32", batch_size=2)


def test_a_prompt_alone_and_beside_a_longer_one_gives_the_same_states(encoder: T5Encoder) -> None:
    alone = encoder.encode(["w1 w2 w3"])
    beside = encoder.encode(["w1 w2 w3", "w4 w5 w6 w7 w8 w9 w10 w11"])
    assert (alone.num_tokens, beside.num_tokens) == (4, 9)
    assert torch.allclose(alone.rows()[0], beside.rows()[0], atol=1e-5, rtol=0)
    assert (beside.states[~beside.mask] == 0).all()


def test_without_the_mask_padding_would_change_the_states(encoder: T5Encoder) -> None:
    # The test above can fail: this is what it would see if the mask were ignored.
    ids = torch.tensor([[3, 4, 1, 0, 0, 0]])
    masked = encoder._forward(ids, ids != 0)[0, :3]
    open_ = encoder._forward(ids, torch.ones_like(ids, dtype=torch.bool))[0, :3]
    assert (masked - open_).abs().max() > 1e-3


def test_states_equal_those_of_transformers_own_call(encoder: T5Encoder, tiny_t5: Path) -> None:
    from transformers import AutoTokenizer, T5EncoderModel

    batch = AutoTokenizer.from_pretrained(tiny_t5)(["w1 w2 w30"], return_tensors="pt")
    with torch.no_grad():
        expected = T5EncoderModel.from_pretrained(tiny_t5).eval()(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        )
    assert torch.allclose(encoder.encode(["w1 w2 w30"]).states, expected.last_hidden_state)


def test_bfloat16_states_are_near_float32_ones(encoder: T5Encoder, tiny_t5: Path) -> None:
    half = T5Encoder(tiny_t5, dtype="bfloat16").encode(["w1 w2 w3"]).states
    full = encoder.encode(["w1 w2 w3"]).states
    assert half.dtype == torch.bfloat16
    # Two layers in bfloat16 (8 bits of mantissa) on states of about unit size.
    assert (half.float() - full).abs().max() < 0.05


@pytest.mark.parametrize("dtype", ["float16", "fp16", "half", "int8"])
def test_float16_and_other_types_are_refused(dtype: str) -> None:
    with pytest.raises(InputError, match="bfloat16 or float32") as caught:
        T5Encoder("never-looked-at", dtype=dtype)
    assert all((caught.value.where, caught.value.got, caught.value.expected, caught.value.fix))


def test_a_long_prompt_is_cut_and_still_ends_with_the_end_token(tiny_t5: Path) -> None:
    encoder = T5Encoder(tiny_t5, dtype="float32", max_tokens=4)
    with pytest.warns(UserWarning, match="longer than 4 tokens; everything after 'w3'"):
        cut = encoder.encode(["w1 w2 w3 w4 w5"])
    assert torch.allclose(cut.states, encoder.encode(["w1 w2 w3"]).states, atol=1e-6)


def test_an_end_token_typed_by_a_user_is_text(encoder: T5Encoder) -> None:
    assert encoder.encode(["w1 </s> w2"]).num_tokens > 4
    assert encoder._token_ids("w1 </s> w2").count(1) == 1


def test_identity_rebuilds_the_same_encoder(encoder: T5Encoder) -> None:
    identity = json.loads(json.dumps(encoder.identity))
    again = T5Encoder.from_identity(identity)
    assert torch.equal(again.encode(["w5 w6"]).states, encoder.encode(["w5 w6"]).states)


def test_both_types_have_one_fingerprint(encoder: T5Encoder, tiny_t5: Path) -> None:
    half = T5Encoder(tiny_t5, dtype="bfloat16")
    assert half.identity["fingerprint"] == encoder.identity["fingerprint"]


def test_other_weights_are_refused(encoder: T5Encoder) -> None:
    with pytest.raises(BundleError, match="fingerprint"):
        T5Encoder.from_identity(encoder.identity | {"fingerprint": "0" * 32})


def test_another_place_of_the_same_weights_is_accepted(
    encoder: T5Encoder, tiny_t5: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_t5, tmp_path / "moved")
    identity = encoder.identity | {"source": "/nowhere/t5"}
    moved = T5Encoder.from_identity(identity, source=tmp_path / "moved")
    assert torch.equal(moved.encode(["w1"]).states, encoder.encode(["w1"]).states)
    with pytest.raises(BundleError, match="a folder that exists"):
        T5Encoder.from_identity(identity)


def test_pickled_weights_are_not_loaded(tiny_t5: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_t5, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BundleError, match="safetensors"):
        T5Encoder(folder, dtype="float32")


def test_weights_with_a_missing_tensor_are_refused(tiny_t5: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "incomplete"
    shutil.copytree(tiny_t5, folder)
    weights = load_file(folder / "model.safetensors")
    weights.pop("encoder.block.1.layer.0.SelfAttention.q.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BundleError, match=r"weights without encoder\.block\.1"):
        T5Encoder(folder, dtype="float32")


def test_damaged_weights_and_an_empty_folder_are_refused(tiny_t5: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="hub id"):
        T5Encoder(tmp_path, dtype="float32")
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_t5, folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(BundleError):
        T5Encoder(folder, dtype="float32")


def test_a_source_that_is_neither_folder_nor_hub_id_is_refused() -> None:
    with pytest.raises(BundleError, match="a folder that exists, or a hub id"):
        T5Encoder("../outside", dtype="float32")


def test_a_hub_id_that_was_never_downloaded_says_so_offline() -> None:
    with pytest.raises(BundleError, match="nobody/no-such-t5"):
        T5Encoder("nobody/no-such-t5", dtype="float32", local_files_only=True)
