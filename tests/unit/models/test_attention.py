"""Attention against loops that can be read, and the length of what it attends to."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from imagen_video.models import attention as module
from imagen_video.models.attention import MAX_FRAME_DISTANCE, SpatialAttention, TemporalAttention
from imagen_video.models.spec import LevelSpec, UNetSpec
from unit.models.random_networks import ATTENTION, CONVOLUTION, awake, inputs, random

HEAD = 8


def wake(layer: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        with torch.no_grad():
            parameter.normal_(std=0.3, generator=generator)


def attend(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    """One head: query `(d,)`, keys and values `(n, d)`."""
    scores = keys @ query / query.shape[0] ** 0.5 + bias
    return scores.softmax(dim=0) @ values


def project(layer: nn.Conv2d, vectors: Tensor) -> Tensor:
    """Apply a 1x1 convolution to `(n, channels)`."""
    assert layer.bias is not None
    return vectors @ layer.weight[:, :, 0, 0].T + layer.bias


def heads(vector: Tensor) -> list[Tensor]:
    return list(vector.split(HEAD, dim=-1))


@pytest.mark.parametrize("mask", ["none", "boolean", "bias"])
def test_attention_that_trains_equals_the_fused_kernel(mask: str) -> None:
    query, key, value = (random(2, 3, length, HEAD) for length in (5, 7, 7))
    masks = {"none": None, "boolean": random(2, 1, 1, 7) > 0, "bias": random(1, 3, 5, 7)}
    trained = module._attend(query, key, value, masks[mask])
    with torch.no_grad():
        fused = module._attend(query, key, value, masks[mask])
    torch.testing.assert_close(trained, fused)


@pytest.mark.parametrize(("positions", "text"), [(True, True), (True, False), (False, True)])
def test_spatial_attention_equals_a_plain_loop(positions: bool, text: bool) -> None:
    level = LevelSpec(
        channels=16, num_blocks=1, spatial_attention=positions, text_attention=text, norm="layer"
    )
    layer = SpatialAttention(level, HEAD, 6)
    wake(layer)
    x = random(2, 16, 2, 3)  # one video of two frames
    states, mask = random(1, 2, 4, 6), torch.ones(1, 2, 4, dtype=torch.bool)
    mask[0, 1, 2:] = False
    out = layer(x, (states, mask), 2)
    for frame in range(2):
        normed = layer.norm(x)[frame].flatten(1).T  # (positions, channels)
        query = project(layer.query, normed)
        key_values = []
        if layer.key_value is not None:
            key_values.append(project(layer.key_value, normed))
        if layer.text_key_value is not None:
            assert layer.text_norm is not None
            tokens = layer.text_norm(states[0, frame][mask[0, frame]])
            key_values.append(layer.text_key_value(tokens))
        keys, values = torch.cat(key_values).chunk(2, dim=-1)
        for position in range(6):
            attended = torch.cat(
                [
                    attend(q, k, v)
                    for q, k, v in zip(
                        heads(query[position]), heads(keys), heads(values), strict=True
                    )
                ]
            )
            expected = project(layer.out, attended[None])[0]
            torch.testing.assert_close(
                out[frame].flatten(1)[:, position],
                x[frame].flatten(1)[:, position] + expected,
                rtol=1e-4,
                atol=1e-4,
            )


def test_temporal_attention_equals_a_plain_loop() -> None:
    layer = TemporalAttention(LevelSpec(channels=16, num_blocks=1, norm="layer"), HEAD)
    wake(layer)
    batch, frames = 2, 3
    x = random(batch * frames, 16, 2, 2)
    out = layer(x, frames, None).view(batch, frames, 16, 4)
    qkv = layer.query_key_value(layer.norm(x)).view(batch, frames, 48, 4)
    for b in range(batch):
        for position in range(4):
            query, key, value = qkv[b, :, :, position].chunk(3, dim=-1)
            for f in range(frames):
                distances = torch.arange(frames) - f + MAX_FRAME_DISTANCE
                attended = torch.cat(
                    [
                        attend(q, k, v, layer.bias[head, distances])
                        for head, (q, k, v) in enumerate(
                            zip(heads(query[f]), heads(key), heads(value), strict=True)
                        )
                    ]
                )
                expected = project(layer.out, attended[None])[0]
                before = x.view(batch, frames, 16, 4)[b, f, :, position]
                torch.testing.assert_close(
                    out[b, f, :, position], before + expected, rtol=1e-4, atol=1e-4
                )


def test_temporal_attention_knows_distances_and_not_absolute_times() -> None:
    layer = TemporalAttention(LevelSpec(channels=16, num_blocks=1, norm="layer"), HEAD)
    wake(layer)
    # a still clip: without a bias nothing could tell the frames apart, with one it cannot either
    still = random(1, 16, 2, 2).expand(6, -1, -1, -1)
    out = layer(still, 6, None)
    torch.testing.assert_close(out, out[:1].expand_as(out), rtol=1e-4, atol=1e-4)
    # the order of the frames matters because of the bias
    moving = random(6, 16, 2, 2)
    flipped = layer(moving.flip(0), 6, None).flip(0)
    assert (flipped - layer(moving, 6, None)).abs().max() > 1e-3


def test_clips_longer_than_the_bias_table_work() -> None:
    layer = TemporalAttention(LevelSpec(channels=8, num_blocks=1, norm="layer"), HEAD)
    wake(layer)
    frames = MAX_FRAME_DISTANCE + 20
    assert layer(random(frames, 8, 1, 1), frames, None).isfinite().all()


@pytest.mark.parametrize("spec", [ATTENTION, CONVOLUTION], ids=["attention", "convolution"])
def test_attention_is_never_over_space_and_time_together(
    spec: UNetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: set[int] = set()
    plain = module._attend

    def spying(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        lengths.add(key.shape[-2])
        return plain(query, key, value, mask)

    monkeypatch.setattr(module, "_attend", spying)
    frames, height, width, tokens = 7, 8, 12, 5
    z, logsnr, conditions = inputs(spec, 1, frames, height, width)
    awake(spec)(z, logsnr, conditions)
    text = 1 + tokens  # the null token in front
    coarse = (height // 2) * (width // 2)
    allowed = {text, coarse + text} | ({frames} if spec is ATTENTION else set())
    assert lengths <= allowed
    assert coarse + text in lengths
