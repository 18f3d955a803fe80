"""A batch on Ray Data: every step an actor pool of its own size, rows streaming through.

    samples -> map_batches(text) -> map_batches(base) -> ... -> map_batches(last stage)

A row is a block of its own, so that a finished base sample goes to whichever upscaler is free. Ray
Data holds the stages before a slow one back when the object store fills. Ray starts an actor again
when it dies and gives it its rows anew; what a row may cost in deaths is limited (`attempts`).
"""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from imagen_video.distributed.cluster import Pool
from imagen_video.distributed.sample import Outcome, Sample
from imagen_video.distributed.worker import BLANK, Work, first_row, outcome_of
from imagen_video.errors import ResourceError

TRIES_TO_LOAD = 3
"""How often an actor tries to load its weights before the batch ends with the error."""


class StepActor:
    """One actor: loads its step once, then does it for every row that it is given."""

    def __init__(self, work: Mapping[str, Any], name: str) -> None:
        """Load the step."""
        self.step = Work(**{**work, "stages": tuple(work["stages"])}).step(name)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Do the step for a batch of one row."""
        row = self.step(BLANK | _row(batch))
        return {name: _column(value) for name, value in row.items()}


def run_on_ray(
    work: Work, samples: Sequence[Sample], pools: Mapping[str, Pool]
) -> Iterator[Outcome]:
    """Yield what becomes of each sample, as they finish. Ray must be connected.

    Args:
        work: what every step needs to know.
        samples: what to make.
        pools: by step.

    Raises:
        ResourceError: if Ray itself fails: an actor cannot start, the cluster is gone.
    """
    import ray.data
    from ray.exceptions import RayError

    _settle_context()
    rows = [{"sample": first_row(sample)["sample"]} for sample in samples]
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    for name in work.steps:
        pool = pools[name]
        there = dataclasses.replace(work, device="cuda" if pool.gpus else "cpu")
        data = data.map_batches(
            StepActor,
            batch_size=1,
            batch_format="numpy",
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
            compute=ray.data.ActorPoolStrategy(size=pool.size),
            fn_constructor_kwargs={"work": dataclasses.asdict(there), "name": name},
        )
    try:
        for batch in data.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=0):
            yield outcome_of(_row(batch))
    except RayError as error:
        raise ResourceError(
            "Ray",
            _last_line(error),
            "actors that start, and a cluster that stays",
            "finished samples are kept: mend it, then give the same command again",
        ) from error


def _settle_context() -> None:
    """Settings of Ray Data for work of a few slow rows, each of which matters."""
    import ray.data

    with warnings.catch_warnings():
        # Ray's settings warn about one another when they are made.
        warnings.simplefilter("ignore")
        context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a stage of a large cascade may take an hour
    context.actor_init_retry_on_errors = True
    context.actor_init_max_retries = TRIES_TO_LOAD
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _row(batch: Any) -> dict[str, Any]:
    """Take the only row of a batch; text comes back as Python's own."""
    return {name: v[0] if v.ndim > 1 else str(v[0]) for name, v in batch.items()}


def _column(value: Any) -> np.ndarray:
    return value[None] if isinstance(value, np.ndarray) else np.array([value], dtype=object)


def _last_line(error: Exception) -> str:
    """Return what was wrong, without the remote traceback in front of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:500]
