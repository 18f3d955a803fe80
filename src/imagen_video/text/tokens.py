"""From prompts to token ids, and from token ids through a network in batches.

Shared by the encoders: cutting a long prompt with a warning that says where, and running a frozen
network over prompts of similar length so that padding costs little. Padding is masked, hence the
outcome does not depend on which prompts share a batch (up to rounding).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Forward = Callable[[Tensor, Tensor], Tensor]
"""(token ids (b, l) int64, mask (b, l) bool) -> states (b, l, w)."""


def warn_about_cut(
    prompt: str, offsets: Sequence[tuple[int, int]], num_kept: int, max_tokens: int
) -> None:
    """Warn that a prompt was cut, naming the last word that the encoder still reads.

    Args:
        prompt: the whole prompt.
        offsets: character range of every token of the prompt, special tokens left out.
        num_kept: how many of those tokens are kept.
        max_tokens: the encoder's limit, special tokens included.
    """
    end = offsets[num_kept - 1][1] if num_kept else 0
    # A word of which only the first pieces are kept does not count as kept.
    inside_word = end < len(prompt) and not prompt[end].isspace() and prompt[end].isalnum()
    words = prompt[:end].split()
    if inside_word and len(words) > 1:
        words = words[:-1]
    last = words[-1] if words else ""
    # The encoder's caller is what the user wrote: this function, encode's helper, encode.
    warnings.warn(
        f"the prompt is longer than {max_tokens} tokens; everything after {last!r} "
        f"(character {end} of {len(prompt)}) is not read",
        UserWarning,
        stacklevel=4,
    )


def run_in_batches(
    ids: Sequence[Sequence[int]], forward: Forward, *, batch_size: int, device: torch.device
) -> list[Tensor]:
    """Run token ids through a frozen network, similar lengths together.

    Args:
        ids: token ids of each prompt, at least one token each.
        forward: the network.
        batch_size: most prompts in one call.
        device: where the ids and the mask go.

    Returns:
        Unpadded states `(n, w)` of each prompt, in the order of `ids`.
    """
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    rows: dict[int, Tensor] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        longest = max(len(ids[index]) for index in chosen)
        tokens = torch.zeros(len(chosen), longest, dtype=torch.int64)
        mask = torch.zeros(len(chosen), longest, dtype=torch.bool)
        for row, index in enumerate(chosen):
            length = len(ids[index])
            tokens[row, :length] = torch.tensor(ids[index], dtype=torch.int64)
            mask[row, :length] = True
        with torch.inference_mode():
            states = forward(tokens.to(device), mask.to(device))
        for row, index in enumerate(chosen):
            # A clone outside inference mode: the states may later meet autograd as an input.
            rows[index] = states[row, : len(ids[index])].clone()
    return [rows[index] for index in range(len(ids))]
