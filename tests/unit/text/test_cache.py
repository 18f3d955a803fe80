from __future__ import annotations

import errno
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from imagen_video.errors import DataError, InputError, ResourceError
from imagen_video.text.base import TextEmbedding
from imagen_video.text.cache import CachedEncoder, TextCache
from imagen_video.text.cache_file import TextCacheWriter
from imagen_video.text.minilm import MiniLMEncoder

CAPTIONS = [f"caption number {index} " + "word " * (index % 5) for index in range(300)]


def bf16(states: torch.Tensor) -> torch.Tensor:
    return states.to(torch.bfloat16).float()


def test_every_caption_comes_back_as_its_states_in_bfloat16(counting: Any, tmp_path: Path) -> None:
    cache = TextCache.write(tmp_path / "c.safetensors", CAPTIONS, counting, batch_size=64)
    assert len(cache) == len(CAPTIONS)
    for caption in CAPTIONS:
        expected = counting.encode([caption]).rows()[0]
        assert torch.equal(cache.states(caption).float(), bf16(expected))


def test_a_batch_equals_the_encoders_batch(counting: Any, tmp_path: Path) -> None:
    cache = TextCache.write(tmp_path / "c.safetensors", CAPTIONS, counting)
    asked = [CAPTIONS[4], CAPTIONS[0], CAPTIONS[4]]
    direct, cached = counting.encode(asked), cache.encode(asked)
    assert torch.equal(cached.mask, direct.mask)
    assert torch.equal(cached.states, bf16(direct.states))
    assert (cache.width, cache.max_tokens) == (counting.width, counting.max_tokens)


def test_repeated_captions_are_encoded_and_stored_once(counting: Any, tmp_path: Path) -> None:
    captions = ["a", "b", "a", "c", "b", "a"]
    cache = TextCache.write(tmp_path / "c.safetensors", iter(captions), counting, batch_size=2)
    assert len(cache) == 3
    assert sorted(caption for call in counting.calls for caption in call) == ["a", "b", "c"]


def test_a_caption_costs_two_bytes_a_value_and_little_more(
    minilm: MiniLMEncoder, tmp_path: Path
) -> None:
    captions = [f"a {c} cat number {i}" for c in ("red", "blue") for i in range(100)]
    cache = TextCache.write(tmp_path / "c.safetensors", captions, minilm)
    payload = cache.num_tokens * cache.width * 2
    assert payload < cache.path.stat().st_size < 1.1 * payload


def test_the_file_is_plain_safetensors(counting: Any, tmp_path: Path) -> None:
    cache = TextCache.write(tmp_path / "c.safetensors", CAPTIONS[:7], counting)
    with safe_open(cache.path, framework="pt") as file:
        assert set(file.keys()) == {"states", "offsets", "hashes", "order"}
        states, offsets = file.get_tensor("states"), file.get_tensor("offsets")
    assert states.dtype == torch.bfloat16
    assert states.shape == (cache.num_tokens, cache.width)
    first = states[: int(offsets[1])].float()
    assert torch.equal(first, bf16(counting.encode([CAPTIONS[0]]).states[0]))


def test_an_odd_width_is_stored_as_well(tmp_path: Path) -> None:
    with TextCacheWriter(tmp_path / "c", width=3, identity={}) as writer:
        writer.add("a", torch.tensor([[1.0, 2.0, 3.0]]))
    assert TextCache(tmp_path / "c").states("a").tolist() == [[1.0, 2.0, 3.0]]


def test_an_unknown_caption_is_an_error_that_names_it(counting: Any, tmp_path: Path) -> None:
    cache = TextCache.write(tmp_path / "c.safetensors", ["a cat"], counting)
    assert "a cat" in cache
    assert "a dog" not in cache
    with pytest.raises(DataError, match="no caption 'a dog'"):
        cache.encode(["a cat", "a dog"])


def test_a_cache_of_another_encoder_is_refused(counting: Any, tmp_path: Path) -> None:
    cache = TextCache.write(tmp_path / "c.safetensors", ["a cat"], counting)
    assert TextCache(cache.path, identity=counting.identity).identity == counting.identity
    with pytest.raises(DataError, match="encode the captions again"):
        TextCache(cache.path, identity=counting.identity | {"width": 9})


def test_no_captions_is_an_error_and_leaves_no_file(counting: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no captions"):
        TextCache.write(tmp_path / "c.safetensors", [], counting)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_keeps_the_older_file(counting: Any, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    TextCache.write(path, ["a cat"], counting)
    before = path.read_bytes()

    def captions() -> Any:
        yield "a dog"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TextCache.write(path, captions(), counting, batch_size=1)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_resource_error_and_leaves_no_file(
    counting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ResourceError, match="No space left"):
        TextCache.write(tmp_path / "c.safetensors", ["a cat"], counting)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 5, 200, -1, -40])
def test_a_cut_off_file_is_refused(counting: Any, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "c.safetensors"
    TextCache.write(path, CAPTIONS[:20], counting)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="encode the captions again"):
        TextCache(path)


def test_a_missing_file_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        TextCache(tmp_path / "none")
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(DataError, match="the format None"):
        TextCache(tmp_path / "x.safetensors")
    (tmp_path / "text").write_text("not a cache")
    with pytest.raises(DataError):
        TextCache(tmp_path / "text")


def test_a_flipped_bit_anywhere_in_the_data_is_found_by_verify(
    counting: Any, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    TextCache.write(path, CAPTIONS[:20], counting).verify()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match="SHA-256"):
        TextCache(path).verify()


@pytest.mark.parametrize("damage", ["offsets_fall", "offsets_end", "order_twice", "too_few"])
def test_an_index_that_points_outside_is_refused(tmp_path: Path, damage: str) -> None:
    offsets, order = np.array([0, 2, 5]), np.array([1, 0])
    hashes = np.zeros((2, 16), np.uint8)
    match damage:
        case "offsets_fall":
            offsets[1] = 7
        case "offsets_end":
            offsets[2] = 500
        case "order_twice":
            order[:] = 1
        case "too_few":
            offsets = offsets[:2]
    from safetensors.torch import save_file as save_torch

    save_torch(
        {
            "states": torch.zeros(5, 4, dtype=torch.bfloat16),
            "offsets": torch.from_numpy(offsets),
            "hashes": torch.from_numpy(hashes),
            "order": torch.from_numpy(order),
        },
        tmp_path / "c",
        metadata={"format": "imagen-video text cache 1", "identity": "{}"},
    )
    with pytest.raises(DataError, match="an index that does not fit"):
        TextCache(tmp_path / "c")


def test_states_that_are_not_finite_are_never_stored(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="not finite"),
        TextCacheWriter(tmp_path / "c", width=2, identity={}) as writer,
    ):
        writer.add("a", torch.tensor([[1.0, float("nan")]]))
    assert list(tmp_path.iterdir()) == []


def test_a_worker_receives_the_path_and_not_the_states(counting: Any, tmp_path: Path) -> None:
    cache = TextCache.write(tmp_path / "c.safetensors", CAPTIONS[:3], counting)
    rebuild, arguments = cache.__reduce__()
    assert torch.equal(rebuild(*arguments).states(CAPTIONS[1]), cache.states(CAPTIONS[1]))
    assert arguments == (cache.path,)


def test_progress_counts_captions(counting: Any, tmp_path: Path) -> None:
    seen: list[int] = []
    TextCache.write(
        tmp_path / "c", ["a", "b", "c"], counting, batch_size=2, on_progress=seen.append
    )
    assert seen == [2, 3]


def test_the_identity_is_stored_as_json(counting: Any, tmp_path: Path) -> None:
    cache = TextCache.write(tmp_path / "c", ["a"], counting)
    with safe_open(cache.path, framework="numpy") as file:
        assert json.loads(file.metadata()["identity"]) == counting.identity


def test_known_captions_are_not_encoded_again(counting: Any) -> None:
    cached = CachedEncoder(counting, 10)
    first = cached.encode(["a", "b", "a"])
    second = cached.encode(["b", "a"])
    assert counting.calls == [["a", "b"]]
    assert torch.equal(first.states[:2], second.states[[1, 0]])
    assert (cached.hits, cached.misses) == (3, 2)


def test_misses_are_encoded_in_one_batch_and_mixed_with_hits_in_order(counting: Any) -> None:
    cached = CachedEncoder(counting, 10)
    cached.encode(["a b c"])
    text = cached.encode(["d e", "a b c", "f", "d e"])
    assert counting.calls[1:] == [["d e", "f"]]
    direct = counting.encode(["d e", "a b c", "f", "d e"])
    assert torch.equal(text.mask, direct.mask)
    assert torch.equal(text.states, bf16(direct.states))


def test_a_caption_has_the_same_states_before_and_after_it_is_kept(counting: Any) -> None:
    cached = CachedEncoder(counting, 10)
    assert torch.equal(cached.encode(["a b"]).states, cached.encode(["a b"]).states)


def test_the_caption_asked_for_longest_ago_is_forgotten(counting: Any) -> None:
    cached = CachedEncoder(counting, 2)
    for caption in ("a", "b", "a", "c"):  # b is the oldest now.
        cached.encode([caption])
    counting.calls.clear()
    cached.encode(["a", "c"])
    assert counting.calls == []
    cached.encode(["b"])
    assert counting.calls == [["b"]]
    assert len(cached) == 2


def test_a_batch_larger_than_the_capacity_is_complete(counting: Any) -> None:
    cached = CachedEncoder(counting, 2)
    assert len(cached.encode(["a", "b", "c", "d"])) == 4
    assert len(cached) == 2


def test_what_is_kept_is_unpadded_bfloat16(counting: Any) -> None:
    cached = CachedEncoder(counting, 10)
    cached.encode(["a", "b c d e f g h"])
    row = cached._rows["a"]
    assert row.dtype == torch.bfloat16
    assert row.shape == (1, counting.width)
    assert row.untyped_storage().nbytes() == 2 * counting.width


def test_a_capacity_below_one_is_refused(counting: Any) -> None:
    with pytest.raises(InputError, match="capacity"):
        CachedEncoder(counting, 0)


def test_threads_may_share_a_cached_encoder(counting: Any) -> None:
    cached = CachedEncoder(counting, 8)
    expected = {c: bf16(counting.encode([c]).states[0]) for c in CAPTIONS[:20]}
    start = threading.Barrier(4)

    def work(offset: int) -> bool:
        start.wait()
        good = True
        for round_ in range(40):
            caption = CAPTIONS[(offset * 7 + round_ * 3) % 20]
            text: TextEmbedding = cached.encode([caption])
            good &= torch.equal(text.states[0], expected[caption])
        return good

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert len(cached) <= 8
    assert cached.hits + cached.misses == 160
