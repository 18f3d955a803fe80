"""`imagen-video batch plan`: from measured seconds to the size of every pool."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Mapping
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from imagen_video.errors import InputError

if TYPE_CHECKING:
    from imagen_video.distributed.measured import Seconds
    from imagen_video.distributed.plan import Allocation

DEFAULT_SPREAD = 0.1
SAMPLES_PER_GPU = 20
LEAST_SAMPLES = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Say how many actors of each stage keep a cluster busy.

    The seconds of the stages come from runs on such a GPU: --from, or --measure here.
    """

    gpus: Annotated[int, tyro.conf.arg(metavar="K")]
    """GPUs of the cluster; an actor of a stage has one."""
    from_: Annotated[tuple[Path, ...], tyro.conf.arg(name="from", metavar="PATH ...")] = ()
    """A manifest.jsonl of batch, JSON files of generate, or folders of them."""
    measure: bool = False
    """Make two samples here instead and take the seconds of the second."""
    bundle: str = "emoji"
    """With --measure: trained cascade."""
    until: Annotated[str | None, tyro.conf.arg(metavar="STAGE", help_behavior_hint="")] = None
    """With --measure: last stage to run."""
    memory: str = "4GB"
    """With --measure: memory that the process may use, or none."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """With --measure: as in batch."""
    simulate: bool = False
    """Play the plan through, event by event, and compare."""
    samples: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """With --simulate: how many samples; 20 a GPU by default, at least 2000."""


def run(argv: list[str]) -> int:
    """Parse the words after `batch plan` and print the plan.

    Raises:
        InputError: for anything that cannot be used.
    """
    options = tyro.cli(
        PlanOptions,
        args=argv,
        prog="imagen-video batch plan",
        description=cleandoc(PlanOptions.__doc__ or ""),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    if bool(options.from_) == options.measure:
        raise InputError(
            "--from, --measure",
            "both" if options.measure else "neither",
            "one of them",
            "say where the seconds of the stages come from",
        )
    if options.samples is not None and options.samples < 10:
        raise InputError("--samples", f"{options.samples}", "10 or more", "correct it")
    return plan(options)


def plan(options: PlanOptions) -> int:
    """Print the plan, and the simulation if it is asked for."""
    from imagen_video.distributed.measured import read_seconds, spread_of, typical
    from imagen_video.distributed.plan import actors_for, allocate
    from imagen_video.distributed.sample import TEXT

    measured = _measure(options) if options.measure else read_seconds(options.from_)
    seconds = {name: typical(values) for name, values in measured.items()}
    text = seconds.pop(TEXT, 0.0)
    allocation = allocate(seconds, options.gpus)
    _show(allocation, {name: len(measured[name]) for name in seconds})
    pools = {TEXT: actors_for(allocation.rate, text), **allocation.actors}
    print("--pool " + ",".join(f"{name}={size}" for name, size in pools.items()))
    if options.simulate:
        spread = {name: spread_of(measured[name], DEFAULT_SPREAD) for name in seconds}
        _simulate(allocation, spread, options.samples)
    return 0


def _show(allocation: Allocation, counts: Mapping[str, int]) -> None:
    width = max(map(len, ["stage", *allocation.seconds]))
    print(f"{'stage':<{width}}  seconds  measured  actors   busy")
    for name, seconds in allocation.seconds.items():
        print(
            f"{name:<{width}}  {seconds:7.3g}  {counts[name]:8d}  {allocation.actors[name]:6d}"
            f"  {allocation.busy(name):5.0%}"
        )
    best = allocation.gpus / sum(allocation.seconds.values())
    print(
        f"{allocation.rate * 3600:.4g} samples an hour on {allocation.gpus} GPUs; "
        f"{allocation.utilisation:.1%} of their time is used"
        + (f", {allocation.spare} of them are not needed" if allocation.spare else "")
    )
    print(f"no plan makes more than {best * 3600:.4g} an hour")


def _simulate(allocation: Allocation, spread: Mapping[str, float], samples: int | None) -> None:
    from imagen_video.distributed.simulation import simulate

    count = samples or max(LEAST_SAMPLES, SAMPLES_PER_GPU * allocation.gpus)
    started = time.monotonic()
    found = simulate(allocation.actors, allocation.seconds, samples=count, spread=spread)
    took = time.monotonic() - started
    off = found.rate / allocation.rate - 1
    print(
        f"simulated: {found.rate * 3600:.4g} samples an hour, {off:+.1%} from the plan; "
        f"{count} samples in {found.seconds / 3600:.3g} h, filling and draining included "
        f"({took:.1f} s to simulate)"
    )


def _measure(options: PlanOptions) -> Seconds:
    """Make two samples here; the first one warms everything up."""
    from imagen_video.cascade.pipeline import ImagenVideoPipeline
    from imagen_video.cli.batch import BatchOptions
    from imagen_video.cli.batch_samples import samples_of, steps_of
    from imagen_video.cli.generation import choose_device, choose_precision
    from imagen_video.cli.settings import parse_memory
    from imagen_video.distributed.local import run_here
    from imagen_video.distributed.measured import gathered
    from imagen_video.distributed.sample import Failed
    from imagen_video.distributed.worker import Work
    from imagen_video.errors import ResourceError

    device = choose_device("auto")
    precision = choose_precision(options.precision, device)
    memory = parse_memory(options.memory)
    pipeline = ImagenVideoPipeline.from_pretrained(options.bundle)
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.txt"
        prompts.write_text("a cat dancing\n", encoding="utf-8")
        asked = BatchOptions(
            prompts=prompts, out=Path(folder), samples=2, bundle=options.bundle, until=options.until
        )
        samples, run_plan = samples_of(asked, pipeline, precision, memory)
        work = Work(
            bundle=options.bundle,
            bundle_sha256=pipeline.digest,
            stages=steps_of(run_plan)[1:],
            folder=folder,
            precision=precision,
            device=str(device),
            memory=memory,
        )
        *_, outcome = run_here(work, samples)
    if isinstance(outcome, Failed):
        raise ResourceError(f"--measure, {outcome.stage}", outcome.error, "a sample", "see above")
    return gathered([outcome.stages])
