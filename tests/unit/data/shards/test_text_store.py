from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from imagen_video.data.shards.manifest import TextEntry
from imagen_video.data.shards.text_store import TEXT_FILE, TextStore, check_encoder, write_text
from imagen_video.errors import DataError
from imagen_video.text.base import TextEmbedding
from unit.cascade.small_cascades import WordEncoder


class Counting(WordEncoder):
    def __init__(self, most_calls: int = 1 << 30) -> None:
        self.prompts: list[str] = []
        self.most_calls = most_calls

    def encode(self, prompts: Any) -> TextEmbedding:
        self.most_calls -= 1
        if self.most_calls < 0:
            raise KeyboardInterrupt
        self.prompts += prompts
        return super().encode(prompts)


CAPTIONS = [f"caption number {'x ' * (n % 5)}{n}" for n in range(10)]


def entry_of(folder: Path, captions: list[str] = CAPTIONS, **options: Any) -> TextEntry:
    entry = write_text(folder, captions, options.pop("encoder", WordEncoder()), **options)
    assert entry is not None
    return entry


def test_every_caption_is_encoded_once_however_many_clips_share_it(tmp_path: Path) -> None:
    encoder = Counting()
    entry = entry_of(tmp_path, [*CAPTIONS, *CAPTIONS, CAPTIONS[3]], encoder=encoder)
    assert encoder.prompts == CAPTIONS
    assert entry.captions == 10


def test_states_come_back_in_bf16_without_padding(tmp_path: Path) -> None:
    entry = entry_of(tmp_path)
    wanted = WordEncoder().encode(CAPTIONS)
    found = TextStore(tmp_path, entry).embed(CAPTIONS)
    assert torch.equal(found.states, wanted.states.to(torch.bfloat16))
    assert torch.equal(found.mask, wanted.mask)
    assert entry.tokens == int(wanted.mask.sum())


def test_a_missing_caption_is_a_null_prompt(tmp_path: Path) -> None:
    found = TextStore(tmp_path, entry_of(tmp_path)).embed([None, CAPTIONS[1]])
    assert found.mask.any(dim=1).tolist() == [False, True]


def test_captions_of_frames_have_an_axis_for_them(tmp_path: Path) -> None:
    store = TextStore(tmp_path, entry_of(tmp_path))
    rows = [[CAPTIONS[0], CAPTIONS[4], None], [CAPTIONS[2], CAPTIONS[2], CAPTIONS[9]]]
    found = store.embed_frames(rows)
    assert found.states.shape[:2] == (2, 3)
    for row, captions in enumerate(rows):
        for frame, caption in enumerate(captions):
            alone = store.embed([caption])
            states = found.states[row, frame][found.mask[row, frame]]
            assert torch.equal(states, alone.states[0][alone.mask[0]])


def test_an_interrupted_run_goes_on_with_its_part_and_ends_with_the_same_bytes(
    tmp_path: Path,
) -> None:
    whole = tmp_path / "whole"
    entry = entry_of(whole, part_captions=3)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "cut", CAPTIONS, Counting(most_calls=2), part_captions=3)
    assert not (tmp_path / "cut" / TEXT_FILE).exists()
    encoder = Counting()
    again = entry_of(tmp_path / "cut", encoder=encoder, part_captions=3)
    assert encoder.prompts == CAPTIONS[6:]
    assert again == entry
    assert (tmp_path / "cut" / TEXT_FILE).read_bytes() == (whole / TEXT_FILE).read_bytes()


def test_a_torn_part_is_encoded_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path, CAPTIONS, Counting(most_calls=2), part_captions=3)
    part = sorted((tmp_path / "work" / "text").iterdir())[1]
    data = bytearray(part.read_bytes())
    data[-200] ^= 1
    part.write_bytes(bytes(data))
    encoder = Counting()
    entry_of(tmp_path, encoder=encoder, part_captions=3)
    assert encoder.prompts == CAPTIONS[3:]


def test_a_finished_file_is_not_made_again(tmp_path: Path) -> None:
    entry = entry_of(tmp_path)
    encoder = Counting()
    assert entry_of(tmp_path, encoder=encoder) == entry
    assert not encoder.prompts


def test_a_caption_costs_its_tokens_and_32_bytes(tmp_path: Path) -> None:
    captions = [f"{n} " + "word " * (n % 9 + 8) for n in range(2000)]
    entry = entry_of(tmp_path, captions)
    ideal = entry.tokens * entry.width * 2
    # The width of 8 is tiny; at MiniLM's 384 the 32 bytes are under half a percent.
    assert entry.bytes - ideal - 32 * 2000 == pytest.approx(1000, abs=700)  # the header
    wide = ideal * 384 / 8 / 2000
    assert (wide + 32) / wide < 1.005


def test_real_captions_stay_within_a_tenth_of_tokens_times_width_times_two(
    tmp_path: Path,
) -> None:
    from imagen_video.text.minilm import MiniLMEncoder

    encoder = MiniLMEncoder()
    things = ("panda", "red car", "old lighthouse", "cup of tea", "violin")
    captions = [
        f"a {thing} {verb} on a {ground}"
        for thing in things
        for verb in ("dancing", "turning slowly", "falling from the left")
        for ground in ("blue background", "checkered floor")
    ]
    entry = entry_of(tmp_path, captions, encoder=encoder)
    tokens = int(encoder.encode(captions).mask.sum())
    assert entry.tokens == tokens
    assert entry.bytes / len(captions) < 1.1 * tokens * 384 * 2 / len(captions)


def test_no_caption_makes_no_file(tmp_path: Path) -> None:
    assert write_text(tmp_path, [], WordEncoder()) is None
    assert not list(tmp_path.iterdir())


def test_a_store_that_is_not_the_manifests_is_refused(tmp_path: Path) -> None:
    entry = dataclasses.replace(entry_of(tmp_path), tokens=7)
    with pytest.raises(DataError, match="7 tokens"):
        TextStore(tmp_path, entry)


def test_another_encoder_is_refused_and_both_are_named(tmp_path: Path) -> None:
    entry = entry_of(tmp_path)
    check_encoder(entry, {"encoder": "words"}, "here")
    with pytest.raises(DataError, match=r"words.*t5") as error:
        check_encoder(entry, {"encoder": "t5", "width": 8}, "here")
    assert "prepare the data again" in str(error.value)


def test_what_a_preset_leaves_open_is_not_compared(tmp_path: Path) -> None:
    pinned = {"encoder": "t5", "fingerprint": "abc"}
    entry = dataclasses.replace(entry_of(tmp_path), identity=pinned)
    check_encoder(entry, {"encoder": "t5"}, "here")
    check_encoder(entry, pinned, "here")
    with pytest.raises(DataError, match="other"):
        check_encoder(entry, {"encoder": "t5", "fingerprint": "other"}, "here")
