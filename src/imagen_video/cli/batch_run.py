"""The run behind `batch`: settle every sample, skip what is finished, make the rest."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cli.batch_samples import (
    parse_pool,
    parse_shares,
    row_bytes,
    samples_of,
    steps_of,
)
from imagen_video.cli.generation import choose_device, choose_precision
from imagen_video.cli.main import say
from imagen_video.cli.progress import SECONDS_BETWEEN_LINES, duration, warnings_as_lines
from imagen_video.cli.settings import parse_memory
from imagen_video.distributed.cluster import Cluster, Pool, connected, pools_for
from imagen_video.distributed.local import run_here
from imagen_video.distributed.manifest import Manifest
from imagen_video.distributed.ray_pools import run_on_ray
from imagen_video.distributed.rounds import Run, run_rounds
from imagen_video.distributed.sample import Failed, Outcome, Sample
from imagen_video.distributed.worker import Work

if TYPE_CHECKING:
    from imagen_video.cascade.run_plan import RunPlan
    from imagen_video.cli.batch import BatchOptions


def batch(options: BatchOptions) -> int:
    """Make the videos that the options ask for.

    Returns:
        The exit code: 1 if a sample failed to the end.

    Raises:
        InputError: for anything that cannot be used, before anything is computed.
        ResourceError: if memory, disk or the cluster give out.
    """
    memory = parse_memory(options.memory)
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    pipeline = ImagenVideoPipeline.from_pretrained(options.bundle)
    with warnings_as_lines():
        samples, plan = samples_of(options, pipeline, precision, memory)
    settled = _Settled(options, plan)
    manifest = Manifest(options.out)
    if options.dry_run:
        finished = manifest.finished(samples)
        settled.describe(samples, finished)
        return 0
    work = Work(
        bundle=samples[0].settings["bundle"],
        bundle_sha256=pipeline.digest,
        stages=settled.steps[1:],
        folder=str(options.out.resolve()),
        precision=precision,
        device=str(device),
        memory=memory,
        deaths=None if options.ray is None else options.retries,
    )
    with warnings_as_lines(), manifest.opened():
        finished = manifest.finished(samples)
        left = [sample for sample in samples if sample.id not in finished]
        if finished:
            say(f"{len(finished)} of {len(samples)} samples are finished already")
        if not left:
            return 0
        with settled.runner(work, options.precision) as run:
            return _run(options, run, left, manifest)


def _run(options: BatchOptions, run: Run, samples: Sequence[Sample], manifest: Manifest) -> int:
    progress = _Progress(options, len(samples))
    try:
        failed = run_rounds(
            run, samples, manifest, retries=options.retries, on_outcome=progress.take
        )
    except BaseException:
        # Ctrl-C, a full disk, a lost cluster: the same for all of them.
        say(f"{progress.made} of {len(samples)} samples are finished and kept; go on with the same")
        raise
    say(progress.line())
    for one in failed:
        say(f"failed: {one.id}, {one.stage}: {one.error}")
    return 1 if failed else 0


class _Settled:
    """The options about steps and pools, checked before anything is connected."""

    def __init__(self, options: BatchOptions, plan: RunPlan) -> None:
        self.plan = plan
        self.address = options.ray
        self.steps = steps_of(plan)
        self.sizes = parse_pool(options.pool, self.steps)
        self.cpus = parse_shares(options.cpus, self.steps, "--cpus")
        self.gpus = parse_shares(options.gpus, self.steps, "--gpus")

    @contextlib.contextmanager
    def runner(self, work: Work, precision: str) -> Iterator[Run]:
        """Connect to where the samples are made."""
        if self.address is None:
            yield functools.partial(run_here, work)
            return
        with connected(self.address) as cluster:
            pools = self._pools(cluster)
            if cluster.gpus and work.precision == "fp32" and precision == "auto":
                say("fp32, as this machine multiplies nothing else fast; see --precision")
            yield lambda samples: run_on_ray(work, samples, pools)

    def _pools(self, cluster: Cluster) -> Mapping[str, Pool]:
        pools = pools_for(cluster, self.steps, sizes=self.sizes, cpus=self.cpus, gpus=self.gpus)
        for name, pool in pools.items():
            each = f"{pool.gpus:g} GPU" if pool.gpus else f"{pool.cpus:g} CPU"
            say(f"pool {name}: {pool.size} x {each}")
        return pools

    def describe(self, samples: Sequence[Sample], finished: set[str]) -> None:
        """Say what would be done."""
        print(f"{len(samples)} samples, {len(finished)} of them finished")
        for stage in self.plan.stages:
            clip, size = self.plan.clips[stage.name], self.sizes.get(stage.name, 1)
            row = row_bytes(self.plan).get(stage.name)
            sent = "an MP4" if row is None else f"{row / 1e6:.2g} MB to the next stage"
            actors = "" if self.address is None else f", {size} actor{'s' * (size > 1)}"
            print(f"  {stage.name}: {clip}, {sent}{actors}")


class _Progress:
    """Tells a person how far the batch is."""

    def __init__(self, options: BatchOptions, total: int) -> None:
        self._folder = options.out
        self._json = options.json
        self._total = total
        self._started = self._told = time.monotonic()
        self.made = self.failed = 0

    def take(self, outcome: Outcome, is_last: bool) -> None:
        if isinstance(outcome, Failed):
            self.failed += is_last
            again = "" if is_last else "; will be tried again"
            say(f"{outcome.id}, {outcome.stage}: {outcome.error}{again}")
            return
        self.made += 1
        print(
            json.dumps(dataclasses.asdict(outcome))
            if self._json
            else f"wrote {self._folder / outcome.video}",
            flush=True,
        )
        if time.monotonic() - self._told >= SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            say(self.line())

    def line(self) -> str:
        """Say how many are done, and how fast."""
        seconds = time.monotonic() - self._started
        rate = self.made / seconds * 3600
        text = f"{self.made} of {self._total} made in {duration(seconds)}, {rate:.3g} an hour"
        return text + (f", {self.failed} failed" if self.failed else "")
