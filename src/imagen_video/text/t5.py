"""The paper's text encoder: a frozen T5, by default T5-XXL v1.1 (Imagen Video, section 2.1).

Only the encoder half is loaded, from safetensors, never from a pickle, and without code from the
model's repository. bfloat16 or float32: T5's activations overflow float16, which shows as NaN or,
worse, as prompts that are half ignored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from imagen_video.errors import BundleError, InputError
from imagen_video.text.base import TextEmbedding, checked_prompts
from imagen_video.text.tokens import run_in_batches, warn_about_cut

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_SOURCE = "google/t5-v1_1-xxl"

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}

_HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


class T5Encoder:
    """Frozen T5 encoder. The attention mask is passed, and padding states come back as zero."""

    def __init__(
        self,
        source: str | Path = DEFAULT_SOURCE,
        *,
        dtype: str = "bfloat16",
        device: torch.device | str = "cpu",
        max_tokens: int = 128,
        batch_size: int = 8,
        local_files_only: bool = False,
    ) -> None:
        """Load the weights and the tokenizer.

        Args:
            source: a folder (config, safetensors, tokenizer), or the id of a model on the hub.
            dtype: "bfloat16" (11 GB for XXL) or "float32" (19 GB).
            device: where the encoder runs; its states come back there.
            max_tokens: longer prompts are cut, the end token included. Assumption: the paper does
                not state its limit; 128 is Imagen's.
            batch_size: most prompts in one call of the network.
            local_files_only: use what is downloaded already and never the network.

        Raises:
            InputError: float16, another type, or a limit below 2.
            BundleError: no usable T5 at `source`.
        """
        _check_dtype(dtype)
        if max_tokens < 2:
            raise InputError("max_tokens", str(max_tokens), "2 or more", "use 128")
        self.max_tokens = max_tokens
        self.device = torch.device(device)
        self._source = str(source)
        self._dtype = dtype
        self._batch_size = batch_size
        self._tokenizer = _load_tokenizer(self._source, local_files_only)
        model = _load_model(self._source, DTYPES[dtype], local_files_only)
        self.width: int = model.config.d_model
        self._fingerprint = _fingerprint(model)
        self._model = model.to(self.device)

    @property
    def identity(self) -> dict[str, Any]:
        """What a bundle's `text_encoder.json` says about this encoder."""
        return {
            "encoder": "t5",
            "source": self._source,
            "fingerprint": self._fingerprint,
            "dtype": self._dtype,
            "width": self.width,
            "max_tokens": self.max_tokens,
        }

    @classmethod
    def from_identity(
        cls,
        identity: dict[str, Any],
        device: torch.device | str = "cpu",
        source: str | Path | None = None,
    ) -> T5Encoder:
        """Rebuild the encoder that a bundle names.

        Args:
            identity: the content of `text_encoder.json`. Without a fingerprint, as in a preset,
                any weights do; those found are named by the encoder's own `identity`.
            device: where the encoder runs.
            source: another place of the same weights, if the one named is not on this machine.

        Raises:
            BundleError: no T5 there, or other weights than the bundle was trained with.
        """
        place = identity["source"] if source is None else source
        encoder = cls(
            place, dtype=identity["dtype"], max_tokens=identity["max_tokens"], device=device
        )
        if encoder._fingerprint != identity.get("fingerprint", encoder._fingerprint):
            raise BundleError(
                f"the T5 weights at {place}",
                f"fingerprint {encoder._fingerprint}",
                str(identity.get("fingerprint")),
                "point to the weights that the cascade was trained with",
            )
        return encoder

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Encode prompts into token states, the end token included.

        Args:
            prompts: one or more sentences.

        Returns:
            States `(b, l, w)` in the encoder's type and their mask, l the longest of this call.

        Raises:
            InputError: for a prompt that is not text, or is empty.
        """
        ids: list[list[int]] = []
        for prompt in checked_prompts(prompts):
            ids.append(self._token_ids(prompt))  # noqa: PERF401 - the warning counts call frames
        rows = run_in_batches(ids, self._forward, batch_size=self._batch_size, device=self.device)
        return TextEmbedding.from_rows(rows)

    def _token_ids(self, prompt: str) -> list[int]:
        # "</s>" typed by a user is text, not the end of the prompt.
        encoding = self._tokenizer(
            prompt,
            add_special_tokens=False,
            return_offsets_mapping=True,
            split_special_tokens=True,
            verbose=False,
        )
        ids: list[int] = encoding["input_ids"]
        num_kept = self.max_tokens - 1
        if len(ids) > num_kept:
            warn_about_cut(prompt, encoding["offset_mapping"], num_kept, self.max_tokens)
        end: Any = self._tokenizer.eos_token_id
        return [*ids[:num_kept], end]

    def _forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self._model(input_ids=ids, attention_mask=mask.to(torch.int64)).last_hidden_state


def _check_dtype(dtype: str) -> None:
    if dtype in DTYPES:
        return
    half = dtype in ("float16", "fp16", "half")
    raise InputError(
        "the T5 encoder's dtype",
        repr(dtype) + (", in which T5 overflows" if half else ""),
        " or ".join(DTYPES),
        "use bfloat16: it needs the same memory" if half else "choose one of them",
    )


def _unusable(source: str, error: Exception) -> BundleError:
    first_line = str(error).strip().split("\n")[0][:300] or type(error).__name__
    return BundleError(
        f"the T5 encoder at {source}",
        first_line,
        "a folder or hub id with config.json, model.safetensors and tokenizer.json",
        "check the name; convert pickled weights (pytorch_model.bin) to safetensors, and a "
        "SentencePiece file to tokenizer.json (pip install sentencepiece protobuf, then save the "
        "tokenizer)",
    )


def _check_source(source: str) -> None:
    if not Path(source).is_dir() and not _HUB_ID.fullmatch(source):
        raise BundleError(
            "the T5 encoder",
            f"the source {source!r}",
            "a folder that exists, or a hub id like google/t5-v1_1-xxl",
            "check the path, or name the place of the weights on this machine",
        )


def _load_tokenizer(source: str, local_files_only: bool) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    _check_source(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source, local_files_only=local_files_only, trust_remote_code=False
        )
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        raise _unusable(source, error) from error
    if not tokenizer.is_fast or tokenizer.eos_token_id is None:
        raise _unusable(source, ValueError("a tokenizer without character offsets or end token"))
    return tokenizer


def _load_model(source: str, dtype: torch.dtype, local_files_only: bool) -> Any:
    from safetensors import SafetensorError
    from transformers import T5EncoderModel

    try:
        loaded: Any = T5EncoderModel.from_pretrained(
            source,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=local_files_only,
            output_loading_info=True,
        )
        model, report = loaded
    except (OSError, ValueError, ImportError, RuntimeError, KeyError, SafetensorError) as error:
        raise _unusable(source, error) from error
    # transformers fills what the file lacks with random numbers and goes on. The embedding is
    # stored once and tied, so its second name may be missing.
    missing = set(report["missing_keys"]) - {"encoder.embed_tokens.weight"}
    if missing:
        raise _unusable(source, ValueError(f"weights without {sorted(missing)[0]}"))
    return model.eval().requires_grad_(False)


def _fingerprint(model: nn.Module) -> str:
    """Return a digest that tells weights apart without reading all 5 billion of them.

    Over the normalisation gains of every layer, rounded to bfloat16, in which both types that we
    load agree.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.named_parameters()):
        if value.ndim == 1:
            digest.update(name.encode())
            rounded = value.detach().cpu().to(torch.bfloat16).view(torch.int16)
            digest.update(rounded.numpy().astype("<i2").tobytes())
    return digest.hexdigest()[:32]
