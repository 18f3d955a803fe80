"""The Ray cluster: how it is reached, and whether the pools fit into it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

from imagen_video.distributed.sample import TEXT
from imagen_video.errors import InputError, MissingExtraError, ResourceError

LOCAL = "local"
"""`--ray local`: Ray on this machine alone, for this batch."""
_SMALLEST = 0.0001
"""Ray counts resources in ten thousandths."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
    """The actors of one step."""

    size: int = 1
    """How many there are."""
    cpus: float = 1.0
    """Of each, whole or a fraction."""
    gpus: float = 0.0
    """Of each, whole or a fraction."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """What a cluster has in all."""

    cpus: float
    gpus: float


@contextlib.contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connect to Ray, or start it here; a connection that is there already is used and kept.

    Args:
        address: `local`, `auto`, or what `ray.init` takes.

    Raises:
        MissingExtraError: if Ray is not installed.
        ResourceError: if there is no such cluster.
    """
    _no_reports()
    if address == LOCAL:
        _loopback_only()
    try:
        import ray
        import ray.data  # noqa: F401 - its own requirements are missing more often
    except ImportError as error:
        raise MissingExtraError(
            "--ray", f"{error}", "the extra `ray`", "pip install 'imagen-video[ray]'"
        ) from error
    ours = not ray.is_initialized()
    if ours:
        is_here = address == LOCAL
        try:
            ray.init(
                address=LOCAL if is_here else address,
                include_dashboard=False if is_here else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise ResourceError(
                f"--ray {address}",
                f"{error}".strip().splitlines()[0][:200],
                "local, auto, or the address of a running cluster",
                "check the address, or start the cluster with `ray start --head`",
            ) from error
    try:
        total = ray.cluster_resources()
        yield Cluster(cpus=total.get("CPU", 0.0), gpus=total.get("GPU", 0.0))
    finally:
        if ours:
            ray.shutdown()


def pools_for(
    cluster: Cluster,
    steps: Sequence[str],
    *,
    sizes: Mapping[str, int],
    cpus: Mapping[str, float],
    gpus: Mapping[str, float],
) -> dict[str, Pool]:
    """Settle the pool of every step, and check that all of them fit.

    Without a word about it an actor of a stage gets one GPU where the cluster has some, and one
    CPU, or an equal share if there are fewer CPUs than actors. The text is encoded on CPUs.

    Args:
        cluster: what there is.
        steps: names of all steps.
        sizes: number of actors, by step; 1 where nothing is said.
        cpus: of an actor, by step.
        gpus: of an actor, by step.

    Raises:
        InputError: if the cluster is too small: Ray would wait for ever.
    """
    actors = sum(sizes.get(step, 1) for step in steps)
    share = min(1.0, _rounded_down(cluster.cpus / actors))
    pools = {
        step: Pool(
            size=sizes.get(step, 1),
            cpus=cpus.get(step, share),
            gpus=0.0 if step == TEXT else gpus.get(step, 1.0 if cluster.gpus else 0.0),
        )
        for step in steps
    }
    for kind, there in (("cpus", cluster.cpus), ("gpus", cluster.gpus)):
        needed = sum(pool.size * getattr(pool, kind) for pool in pools.values())
        if needed > there + _SMALLEST:
            raise InputError(
                f"--pool, --{kind}",
                f"{needed:g} {kind[:-1].upper()}s for {actors} actors",
                f"at most {there:g}: what the cluster has now",
                f"make pools smaller, give an actor a part (--{kind} 1,base=0.25), or add nodes",
            )
    return pools


def _rounded_down(value: float) -> float:
    return max(_SMALLEST, math.floor(value / _SMALLEST) * _SMALLEST)


def _no_reports() -> None:
    """Keep Ray from reporting its use to its makers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def _loopback_only() -> None:
    """Keep a Ray of our own to this machine.

    Whoever reaches Ray's ports can run code. The switch is named after the systems on which it is
    off by default; it is read when Ray is imported, and with it every port is on 127.0.0.1.
    """
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
