"""The allocation is the best there is, and a simulation of a thousand GPUs agrees."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.distributed.plan import actors_for, allocate
from imagen_video.distributed.simulation import simulate
from imagen_video.errors import InputError

SHIPPED = {
    "base": 4.5, "tsr1": 0.4, "ssr1": 0.6, "ssr2": 2.3, "tsr2": 3.9, "tsr3": 7.8, "ssr3": 80.5,
}  # fmt: skip


@given(seconds=st.lists(st.floats(0.01, 100.0), min_size=1, max_size=3), spare=st.integers(0, 6))
def test_no_other_allocation_makes_more(seconds: list[float], spare: int) -> None:
    stages = {f"s{i}": value for i, value in enumerate(seconds)}
    gpus = len(stages) + spare
    rate = allocate(stages, gpus).rate
    best = max(
        min(n / t for n, t in zip(counts, seconds, strict=True))
        for counts in itertools.product(range(1, gpus + 1), repeat=len(seconds))
        if sum(counts) <= gpus
    )
    assert rate == pytest.approx(best, rel=1e-12)


@given(seconds=st.lists(st.floats(0.01, 100.0), min_size=1, max_size=7), gpus=st.integers(7, 300))
def test_no_stage_has_an_actor_that_could_be_left_out(seconds: list[float], gpus: int) -> None:
    found = allocate({f"s{i}": value for i, value in enumerate(seconds)}, gpus)
    assert sum(found.actors.values()) + found.spare == gpus
    assert 0 < found.utilisation <= 1 + 1e-9
    for name, count in found.actors.items():
        assert count == 1 or (count - 1) / found.seconds[name] < found.rate
        assert found.busy(name) <= 1 + 1e-9


def test_the_shipped_cascade_fills_a_thousand_gpus() -> None:
    found = allocate(SHIPPED, 1000)
    assert found.actors == {
        "base": 45, "tsr1": 4, "ssr1": 6, "ssr2": 23, "tsr2": 39, "tsr3": 78, "ssr3": 805,
    }  # fmt: skip
    assert found.rate * 3600 == pytest.approx(36_000)
    assert found.utilisation == pytest.approx(1.0)


def test_gpus_that_make_nothing_faster_stay_spare() -> None:
    found = allocate({"a": 1.0, "b": 1.0}, 5)
    assert found.actors == {"a": 2, "b": 2}
    assert found.spare == 1


@pytest.mark.parametrize(
    ("seconds", "gpus"),
    [({"a": 1.0, "b": 1.0}, 1), ({"a": 0.0}, 4), ({"a": float("nan")}, 4), ({"a": 1.0}, 2_000_000)],
)
def test_what_cannot_be_planned_is_refused(seconds: dict[str, float], gpus: int) -> None:
    with pytest.raises(InputError):
        allocate(seconds, gpus)


def test_a_cheap_step_outside_the_gpus_gets_as_many_as_the_rate_needs() -> None:
    assert actors_for(10.0, 0.0) == 1
    assert actors_for(10.0, 0.1) == 1
    assert actors_for(10.0, 0.25) == 3


def test_a_simulation_of_a_thousand_gpus_makes_what_the_plan_says() -> None:
    plan = allocate(SHIPPED, 1000)
    found = simulate(plan.actors, SHIPPED, samples=6000, spread=dict.fromkeys(SHIPPED, 0.1))
    assert found.rate == pytest.approx(plan.rate, rel=0.03)


def test_a_simulation_notices_a_pool_that_is_too_small() -> None:
    plan = allocate(SHIPPED, 200)
    actors = {**plan.actors, "tsr3": plan.actors["tsr3"] // 2}
    found = simulate(actors, SHIPPED, samples=2000, spread=dict.fromkeys(SHIPPED, 0.1))
    assert found.rate == pytest.approx(plan.actors["tsr3"] // 2 / SHIPPED["tsr3"], rel=0.03)
    assert found.rate < 0.6 * plan.rate
    assert found.busy["ssr3"] < 0.6


def test_a_simulation_without_spread_is_exact_for_one_pool() -> None:
    found = simulate({"a": 3}, {"a": 2.0}, samples=3000, spread={"a": 0.0})
    assert found.seconds == pytest.approx(2000.0)
    assert found.rate == pytest.approx(1.5, rel=0.01)
    assert found.busy["a"] == pytest.approx(1.0)
