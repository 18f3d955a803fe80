from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from imagen_video.models.cost import WORKSPACE, flops, inference_bytes, num_parameters
from imagen_video.models.spec import LevelSpec, UNetSpec
from unit.models.random_networks import ATTENTION, SPECS, fresh, inputs

ONE_BLOCK = UNetSpec(
    levels=(LevelSpec(channels=8, num_blocks=1),), channels=1, patch_size=1, embedding_width=4
)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_the_number_of_parameters_is_that_of_the_real_network(spec: UNetSpec) -> None:
    assert num_parameters(spec) == sum(p.numel() for p in fresh(spec).parameters())


def test_the_number_of_parameters_equals_a_hand_count() -> None:
    convolutions = (9 * 1 * 8 + 8) + 2 * (9 * 8 * 8 + 8) + (9 * 8 * 1 + 1)
    norms = 3 * 2 * 8
    embedding = 3 * (4 * 4 + 4)
    film = 4 * 16 + 16
    assert num_parameters(ONE_BLOCK) == convolutions + norms + embedding + film


@pytest.mark.parametrize(
    ("batch", "frames", "height", "width"), [(1, 1, 8, 8), (2, 3, 8, 16), (5, 1, 4, 4)]
)
def test_flops_equal_a_hand_count(batch: int, frames: int, height: int, width: int) -> None:
    convolutions = 2 * 9 * (1 * 8 + 8 * 8 + 8 * 8 + 8 * 1) * batch * frames * height * width
    linear = 2 * (3 * 4 * 4 + 4 * 16) * batch
    assert flops(ONE_BLOCK, batch, frames, height, width) == convolutions + linear


def test_flops_grow_faster_than_the_picture_and_the_clip_where_there_is_attention() -> None:
    def excess(spec: UNetSpec, *sizes: tuple[int, int]) -> int:
        """By how much the second of two equal enlargements costs more than the first."""
        small, middle, large = (flops(spec, 1, frames, height, 8) for frames, height in sizes)
        return (large - middle) - (middle - small)

    taller, longer = ((1, 8), (1, 16), (1, 24)), ((4, 8), (8, 8), (12, 8))
    assert excess(ONE_BLOCK, *taller) == excess(ONE_BLOCK, *longer) == 0
    # 4 c n^2 for the two products of attention over n, second difference 8 c d^2 for steps of d
    coarse = 2 * 8 * 16 * (4 * 4) ** 2  # two blocks of 16 channels over positions at half size
    assert excess(ATTENTION, *taller) == coarse
    assert excess(ATTENTION, *longer) > 0


def test_memory_grows_with_the_picture_and_the_batch() -> None:
    spec = dataclasses.replace(ONE_BLOCK, channels=3)
    small, wide, two = (
        inference_bytes(spec, *size) for size in ((1, 4, 64, 64), (1, 4, 64, 128), (2, 4, 64, 64))
    )
    assert 1.9 < wide / small < 2.1
    assert 1.9 < two / small < 2.1
    activation = 4 * 8 * 4 * 64 * 64
    assert 2 * activation < small / WORKSPACE < 6 * activation


def allocated_peak(spec: UNetSpec, *size: int) -> int:
    """Most bytes that a real forward pass holds at once, as torch's allocator saw it."""
    network, arguments = fresh(spec), inputs(spec, *size)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        network(*arguments)
    live = peak = 0
    recorder = seen.profiler
    assert recorder is not None
    results = recorder.kineto_results
    assert results is not None
    for event in results.events():
        if event.name() == "[memory]":
            live += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue]
            peak = max(peak, live)
    return peak


# torch 2.10 says so of every profile
@pytest.mark.filterwarnings("ignore:.*Profiler clears events:UserWarning")
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_predicted_memory_is_near_the_measured_peak(spec: UNetSpec) -> None:
    size = (2, 3, 64, 64)  # 1024 positions attend at half size: unfused, that would be 100 MB
    predicted = inference_bytes(spec, *size) / WORKSPACE
    # inputs are counted too; some kernels make copies and some do not
    assert 0.8 < predicted / allocated_peak(spec, *size) < 1.7


def test_costs_need_no_memory_for_weights() -> None:
    huge = UNetSpec(
        levels=tuple(LevelSpec(channels=8192, num_blocks=8) for _ in range(3)), embedding_width=1024
    )
    # 4 bytes each would be 200 GB
    assert num_parameters(huge) > 5e10
