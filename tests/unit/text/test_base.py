from __future__ import annotations

import pytest
import torch

from imagen_video.errors import InputError
from imagen_video.text.base import MAX_PROMPT_CHARACTERS, TextEmbedding, checked_prompts


def embedding(*lengths: int, width: int = 3) -> TextEmbedding:
    generator = torch.Generator().manual_seed(0)
    return TextEmbedding.from_rows(
        [torch.randn(length, width, generator=generator) + 2.0 for length in lengths]
    )


def test_rows_survive_padding_and_unpadding() -> None:
    rows = [torch.randn(2, 4), torch.randn(5, 4), torch.randn(1, 4)]
    back = TextEmbedding.from_rows(rows).rows()
    assert all(torch.equal(a, b) for a, b in zip(rows, back, strict=True))


def test_states_at_padding_are_zero() -> None:
    text = embedding(1, 4)
    assert text.mask.tolist() == [[True, False, False, False], [True] * 4]
    assert (text.states[~text.mask] == 0).all()
    assert (text.states[text.mask] != 0).all()


def test_null_embedding_has_no_token_and_no_trace_of_the_prompt() -> None:
    null = embedding(2, 4).null()
    assert not null.mask.any()
    assert (null.states == 0).all()
    assert null.states.shape == (2, 4, 3)


def test_an_empty_row_becomes_a_null_prompt_with_one_position() -> None:
    text = TextEmbedding.from_rows([torch.zeros(0, 3)])
    assert text.states.shape == (1, 1, 3)
    assert not text.mask.any()


def test_padding_to_more_tokens_changes_no_real_token() -> None:
    text = embedding(2, 4)
    padded = text.pad_to(9)
    assert padded.num_tokens == 9
    assert torch.equal(padded.states[:, :4], text.states)
    assert not padded.mask[:, 4:].any()
    with pytest.raises(ValueError, match="cannot pad 4 tokens to 3"):
        text.pad_to(3)


def test_concat_pads_to_the_longest_and_keeps_the_order() -> None:
    first, second = embedding(2), embedding(4, 1)
    joined = TextEmbedding.concat([first, second])
    assert len(joined) == 3
    lengths = [len(row) for row in joined.rows()]
    assert lengths == [2, 4, 1]
    assert torch.equal(joined.rows()[2], second.rows()[1])


def test_select_follows_the_order_asked_for() -> None:
    text = embedding(1, 2, 3)
    assert [len(row) for row in text.select([2, 0]).rows()] == [3, 1]
    assert [len(row) for row in text.select(slice(0, 2)).rows()] == [1, 2]


def test_pooling_ignores_padding_and_is_zero_for_a_null_prompt() -> None:
    text = embedding(2, 5)
    assert torch.allclose(text.pooled()[0], text.states[0, :2].mean(0))
    assert torch.allclose(text.pad_to(20).pooled(), text.pooled())
    assert (text.null().pooled() == 0).all()


def test_moving_converts_states_and_leaves_the_mask_boolean() -> None:
    text = embedding(2).to(dtype=torch.bfloat16)
    assert text.states.dtype == torch.bfloat16
    assert text.mask.dtype == torch.bool


@pytest.mark.parametrize(
    ("prompts", "found"),
    [
        ("a cat", "a str"),
        (b"a cat", "a bytes"),
        (None, "a NoneType"),
        ([], "an empty list"),
        (["a cat", 3], "a int"),
        ([""], "an empty prompt"),
        ([" \n\t"], "an empty prompt"),
        (["x" * (MAX_PROMPT_CHARACTERS + 1)], f"{MAX_PROMPT_CHARACTERS + 1} characters"),
        (["a \ud800 cat"], "an unpaired surrogate at character 2"),
    ],
)
def test_prompts_that_are_not_usable_text_are_refused(prompts: object, found: str) -> None:
    with pytest.raises(InputError) as caught:
        checked_prompts(prompts)
    assert caught.value.got == found
    assert caught.value.fix


def test_good_prompts_pass_unchanged() -> None:
    assert checked_prompts(("a cat ", "\u00e9l\u00e9phant \U0001f418")) == [
        "a cat ",
        "\u00e9l\u00e9phant \U0001f418",
    ]
