from __future__ import annotations

from pathlib import Path

import pytest
import torch

from imagen_video.text.base import TextEmbedding, checked_prompts
from imagen_video.text.minilm import MiniLMEncoder

TINY_WIDTH = 16


@pytest.fixture(scope="session")
def minilm() -> MiniLMEncoder:
    return MiniLMEncoder()


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random T5 of two layers with a word tokenizer, saved as people save theirs."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    folder = tmp_path_factory.mktemp("t5")
    words = ["<pad>", "</s>", "<unk>", *(f"w{i}" for i in range(50)), "<", "/", "s", ">"]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=len(words),
            d_model=TINY_WIDTH,
            d_kv=8,
            d_ff=32,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
        model = T5EncoderModel(config)
        for name, value in model.named_parameters():
            if value.ndim == 1:  # So that fingerprints of different weights differ.
                torch.nn.init.normal_(value, mean=1.0, std=0.1)
            assert value.dtype == torch.float32, name
    model.save_pretrained(folder)
    return folder


class CountingEncoder:
    """States that depend on the word alone; counts how often it is asked."""

    width = 8
    max_tokens = 64

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    @property
    def identity(self) -> dict[str, object]:
        return {"encoder": "counting", "width": self.width, "max_tokens": self.max_tokens}

    def encode(self, prompts: list[str]) -> TextEmbedding:
        prompts = checked_prompts(prompts)
        self.calls.append(list(prompts))
        rows = []
        for prompt in prompts:
            seeds = [sum(word.encode()) for word in prompt.split()]
            rows.append(
                torch.stack(
                    [
                        torch.randn(self.width, generator=torch.Generator().manual_seed(seed))
                        for seed in seeds
                    ]
                )
            )
        return TextEmbedding.from_rows(rows)


@pytest.fixture
def counting() -> CountingEncoder:
    return CountingEncoder()
