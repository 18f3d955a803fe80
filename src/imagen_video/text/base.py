"""What the cascade knows about text: token states, a mask, and the contract of an encoder.

A prompt is a sequence of token states, never one pooled vector (paper, section 2.1: frozen T5-XXL
states, read through cross-attention). Two rules hold everywhere:

* the mask says which tokens are real; a state at padding is zero and must never be attended;
* "no prompt" is the null embedding: a mask that is False everywhere. The encoder does not produce
  it from an empty string. The network owns one learned null token that it reads in its place, so
  that classifier-free guidance drops every path of the text at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from imagen_video.errors import InputError

MAX_PROMPT_CHARACTERS = 20_000
"""Longer prompts are refused: every encoder reads far less, and tokenising them costs minutes."""


@dataclass(frozen=True, kw_only=True)
class TextEmbedding:
    """Token states of a batch of prompts, or of one prompt a frame: `(b, f, l, w)`, `(b, f, l)`."""

    states: Float[Tensor, "b *f l w"]
    """Hidden states of the encoder's last layer; zero where the mask is False."""

    mask: Bool[Tensor, "b *f l"]
    """True for a real token. A row without any True is a dropped (null) prompt."""

    def __post_init__(self) -> None:
        """Refuse states and masks that do not belong together."""
        if self.states.ndim not in (3, 4) or self.mask.shape != self.states.shape[:-1]:
            raise ValueError(
                f"states {tuple(self.states.shape)} and mask {tuple(self.mask.shape)} must be "
                "(b, l, w) and (b, l), or (b, f, l, w) and (b, f, l)"
            )
        if self.mask.dtype != torch.bool:
            raise ValueError(f"the mask must be boolean, got {self.mask.dtype}")

    def __len__(self) -> int:
        """Return the number of prompts."""
        return self.states.shape[0]

    @property
    def num_tokens(self) -> int:
        """Padded length l."""
        return self.states.shape[-2]

    @property
    def width(self) -> int:
        """Width w of a token state."""
        return self.states.shape[-1]

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> TextEmbedding:
        """Move to a device; `dtype` converts the states, the mask stays boolean."""
        return TextEmbedding(
            states=self.states.to(device=device, dtype=dtype), mask=self.mask.to(device=device)
        )

    def null(self) -> TextEmbedding:
        """Return the null embedding of the same shape: nothing is left of the prompts."""
        return TextEmbedding(states=torch.zeros_like(self.states), mask=torch.zeros_like(self.mask))

    def select(self, rows: Sequence[int] | slice) -> TextEmbedding:
        """Return some of the prompts, in the order asked for."""
        index = rows if isinstance(rows, slice) else list(rows)
        return TextEmbedding(states=self.states[index], mask=self.mask[index])

    def pad_to(self, num_tokens: int) -> TextEmbedding:
        """Pad with masked zero states to `num_tokens`.

        Raises:
            ValueError: if that would cut tokens off.
        """
        extra = num_tokens - self.num_tokens
        if extra < 0:
            raise ValueError(f"cannot pad {self.num_tokens} tokens to {num_tokens}")
        if extra == 0:
            return self
        return TextEmbedding(
            states=torch.nn.functional.pad(self.states, (0, 0, 0, extra)),
            mask=torch.nn.functional.pad(self.mask, (0, extra)),
        )

    def pooled(self) -> Float[Tensor, "b w"]:
        """Mean over the real tokens; zero for a null prompt."""
        weight = self.mask.to(self.states.dtype)[..., None]
        return (self.states * weight).sum(1) / weight.sum(1).clamp(min=1.0)

    def rows(self) -> list[Float[Tensor, "n w"]]:
        """Return each prompt's real tokens without padding."""
        return [states[mask] for states, mask in zip(self.states, self.mask, strict=True)]

    @staticmethod
    def from_rows(rows: Sequence[Tensor]) -> TextEmbedding:
        """Build a batch from unpadded token states `(n, w)`, padded to the longest only.

        An empty row (n = 0) becomes a null prompt. At least one position is kept, so that an
        attention layer never meets a sequence of length zero.
        """
        if not rows:
            raise ValueError("a text embedding needs at least one prompt")
        longest = max(1, *(row.shape[0] for row in rows))
        states = rows[0].new_zeros(len(rows), longest, rows[0].shape[1])
        mask = torch.zeros(len(rows), longest, dtype=torch.bool, device=rows[0].device)
        for index, row in enumerate(rows):
            states[index, : row.shape[0]] = row
            mask[index, : row.shape[0]] = True
        return TextEmbedding(states=states, mask=mask)

    @staticmethod
    def concat(parts: Sequence[TextEmbedding]) -> TextEmbedding:
        """Join batches, padding all of them to the longest."""
        if not parts:
            raise ValueError("nothing to join")
        longest = max(part.num_tokens for part in parts)
        padded = [part.pad_to(longest) for part in parts]
        return TextEmbedding(
            states=torch.cat([part.states for part in padded]),
            mask=torch.cat([part.mask for part in padded]),
        )


class TextEncoder(Protocol):
    """A frozen encoder. Calling it twice with the same prompt gives the same states."""

    @property
    def width(self) -> int:
        """Width of a token state."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longer prompts are cut here, with a warning."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """What `text_encoder.json` of a bundle says: JSON values that name encoder and weights."""
        ...

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Encode prompts, padded to the longest of them.

        Raises:
            InputError: for a prompt that is not text, or is empty.
        """
        ...


def checked_prompts(prompts: object) -> list[str]:
    """Return the prompts as a list after refusing everything that is not usable text.

    Raises:
        InputError: a bare string instead of a sequence, no prompt at all, or a prompt that is not
            a string, empty, longer than `MAX_PROMPT_CHARACTERS`, or not valid Unicode.
    """
    if isinstance(prompts, (str, bytes)) or not isinstance(prompts, Sequence):
        raise InputError(
            "prompts",
            f"a {type(prompts).__name__}",
            "a list of strings",
            "put a single prompt in a list: [prompt]",
        )
    if not prompts:
        raise InputError("prompts", "an empty list", "at least one prompt", "pass a prompt")
    for index, prompt in enumerate(prompts):
        _check_prompt(f"prompt {index}", prompt)
    return list(prompts)


def _check_prompt(where: str, prompt: object) -> None:
    if not isinstance(prompt, str):
        raise InputError(where, f"a {type(prompt).__name__}", "a string", "pass the prompt as text")
    if not any(character.isprintable() and character != " " for character in prompt):
        # control and zero-width characters leave no token either
        raise InputError(
            where,
            "an empty prompt",
            "at least one word",
            "describe the video, or leave the prompt out to sample without text",
        )
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise InputError(
            where,
            f"{len(prompt)} characters",
            f"at most {MAX_PROMPT_CHARACTERS}",
            "shorten the prompt",
        )
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            where,
            f"an unpaired surrogate at character {error.start}",
            "valid Unicode text",
            "remove the character, or read the text with the right encoding",
        ) from error
