"""Noise is a function of (seed, stage, purpose, step, frame) and of nothing else."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from imagen_video.diffusion.noise import Purpose, frame_noise, video_noise
from imagen_video.errors import InputError

SHAPE = (3, 6, 10)


def test_the_documented_derivation_gives_the_same_values() -> None:
    digest = hashlib.sha256(b"imagen-video noise 1|42|step|ssr1").digest()
    key = [int.from_bytes(digest[i : i + 8], "little") for i in (0, 8)]
    stream = np.random.Generator(
        np.random.Philox(
            key=np.array(key, dtype=np.uint64), counter=np.array([0, 0, 5, 7], dtype=np.uint64)
        )
    )
    expected = stream.standard_normal(SHAPE, dtype=np.float32)
    assert np.array_equal(frame_noise(42, "ssr1", "step", 7, 5, SHAPE), expected)


def test_the_values_are_pinned() -> None:
    # Changing them changes everybody's videos: say so in the changelog, raise the key's version.
    pinned = [0.12469706684350967, 0.844599723815918, -0.004593700170516968, -0.5802202820777893]
    got = frame_noise(0, "base", "initial", 0, 0, (1, 1, 4)).flatten()
    np.testing.assert_array_equal(got, np.array(pinned, dtype=np.float32))


@pytest.mark.parametrize(
    "other",
    [
        (1, "base", "initial", 0, 0),
        (-1, "base", "initial", 0, 0),
        (0, "tsr1", "initial", 0, 0),
        (0, "base", "step", 0, 0),
        (0, "base", "augmentation", 0, 0),
        (0, "base", "initial", 1, 0),
        (0, "base", "initial", 0, 1),
    ],
)
def test_every_part_of_the_key_changes_the_noise(other: tuple[int, str, Purpose, int, int]) -> None:
    one = frame_noise(0, "base", "initial", 0, 0, SHAPE)
    two = frame_noise(*other, SHAPE)
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.3
    assert not np.isin(one, two).any()


def test_a_sample_alone_equals_itself_in_a_batch() -> None:
    seeds = [3, 1, 4, 1, 5, 9, 2, 6]
    batch = video_noise(seeds, "base", "initial", 0, range(4), SHAPE)
    assert batch.shape == (8, 4, *SHAPE)
    assert batch.dtype == torch.float32
    for i, seed in enumerate(seeds):
        alone = video_noise([seed], "base", "initial", 0, range(4), SHAPE)
        assert torch.equal(batch[i], alone[0])


def test_some_frames_equal_the_same_frames_of_the_whole() -> None:
    whole = video_noise([7], "tsr3", "step", 3, range(12), SHAPE)
    part = video_noise([7], "tsr3", "step", 3, range(4, 9), SHAPE)
    strided = video_noise([7], "tsr3", "step", 3, range(1, 12, 3), SHAPE)
    assert torch.equal(whole[:, 4:9], part)
    assert torch.equal(whole[:, 1::3], strided)


def test_threads_do_not_change_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (3, 96, 160)
    serial = video_noise([1, 2], "ssr1", "initial", 0, range(6), shape)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert torch.equal(serial, video_noise([1, 2], "ssr1", "initial", 0, range(6), shape))


def test_another_default_device_does_not_change_the_noise() -> None:
    asked = ([3, 7], "ssr1", "step", 2, range(3), (3, 8, 8))
    expected = video_noise(*asked)
    with torch.device("meta"):
        assert torch.equal(video_noise(*asked), expected)


def test_neighbouring_frames_do_not_overlap() -> None:
    # Were frames offsets into one stream, a long frame would run into the next one's values.
    long = frame_noise(0, "base", "initial", 0, 0, (3, 128, 128)).ravel()
    following = frame_noise(0, "base", "initial", 0, 1, (1, 1, 16)).ravel()
    assert not np.isin(following, long).any()


def test_it_is_standard_normal() -> None:
    values = np.sort(frame_noise(11, "base", "initial", 0, 0, (3, 200, 200)).ravel()).astype(float)
    n = values.size
    assert abs(values.mean()) < 5 / np.sqrt(n)
    assert abs(values.var() - 1) < 5 * np.sqrt(2 / n)
    # Kolmogorov-Smirnov distance to the normal distribution; 2.2 / sqrt(n) has a p-value of 1e-4.
    normal = torch.special.ndtr(torch.from_numpy(values)).numpy()
    assert np.abs(normal - (np.arange(n) + 0.5) / n).max() < 2.2 / np.sqrt(n)


def test_different_frames_and_seeds_are_uncorrelated() -> None:
    noise = video_noise(list(range(4)), "base", "initial", 0, range(4), (3, 64, 64))
    correlation = torch.corrcoef(noise.reshape(16, -1).double()) - torch.eye(16)
    assert correlation.abs().max() < 5 / np.sqrt(3 * 64 * 64)


@pytest.mark.parametrize(("step", "frame"), [(-1, 0), (0, -1)])
def test_negative_positions_are_refused(step: int, frame: int) -> None:
    with pytest.raises(InputError, match="count from 0"):
        frame_noise(0, "base", "step", step, frame, SHAPE)


def test_an_unknown_purpose_is_refused(unchecked: None) -> None:
    with pytest.raises(InputError, match="purpose"):
        frame_noise(0, "base", "decoration", 0, 0, SHAPE)  # pyright: ignore[reportArgumentType]


def test_no_frames_give_an_empty_video() -> None:
    assert video_noise([1], "base", "step", 0, range(0), SHAPE).shape == (1, 0, *SHAPE)
