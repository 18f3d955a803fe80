"""Pools are settled, and checked against the cluster, before anything starts."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from imagen_video.distributed.cluster import Cluster, Pool, connected, pools_for
from imagen_video.errors import InputError, MissingExtraError

STEPS = ("text", "base", "ssr1")
NOTHING: dict[str, Any] = {"sizes": {}, "cpus": {}, "gpus": {}}


def test_without_gpus_an_actor_gets_a_cpu() -> None:
    pools = pools_for(Cluster(cpus=8, gpus=0), STEPS, **NOTHING)
    assert pools == dict.fromkeys(STEPS, Pool(size=1, cpus=1.0, gpus=0.0))


def test_more_actors_than_cpus_share_them() -> None:
    pools = pools_for(Cluster(cpus=2, gpus=0), STEPS, **{**NOTHING, "sizes": {"ssr1": 4}})
    assert pools["ssr1"].size == 4
    assert 0.33 < pools["base"].cpus <= 2 / 6


def test_with_gpus_an_actor_of_a_stage_gets_one_and_the_text_none() -> None:
    pools = pools_for(Cluster(cpus=64, gpus=8), STEPS, **{**NOTHING, "sizes": {"ssr1": 7}})
    assert [pools[step].gpus for step in STEPS] == [0.0, 1.0, 1.0]


def test_pools_that_do_not_fit_are_refused_before_ray_waits_for_ever() -> None:
    with pytest.raises(InputError, match=r"got 9 GPUs for 10 actors; expected at most 8"):
        pools_for(Cluster(cpus=64, gpus=8), STEPS, **{**NOTHING, "sizes": {"ssr1": 8}})
    with pytest.raises(InputError, match=r"got 6 CPUs"):
        pools_for(Cluster(cpus=4, gpus=0), STEPS, **{**NOTHING, "cpus": dict.fromkeys(STEPS, 2)})
    shared = {"sizes": {"ssr1": 7}, "cpus": {}, "gpus": {"base": 0.5, "ssr1": 1.0}}
    assert pools_for(Cluster(cpus=64, gpus=8), STEPS, **shared)["base"].gpus == 0.5


def test_a_missing_ray_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_ray(name: str, *args: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "ray":
            raise ImportError("No module named 'ray'")
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(MissingExtraError, match=r"imagen-video\[ray\]"), connected("local"):
        pass
