"""The run of a batch: skip what is finished, make the rest, try again what failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from imagen_video.distributed.attempts import Attempts
from imagen_video.distributed.manifest import Manifest
from imagen_video.distributed.sample import Failed, Outcome, Sample
from imagen_video.errors import ResourceError

Run = Callable[[Sequence[Sample]], Iterator[Outcome]]
"""Makes some samples, in any order; a sample of which it says nothing counts as failed."""
OnOutcome = Callable[[Outcome, bool], None]
"""Told every outcome, and whether it is the sample's last."""


def run_rounds(
    run: Run,
    samples: Sequence[Sample],
    manifest: Manifest,
    *,
    retries: int = 0,
    on_outcome: OnOutcome = lambda outcome, is_last: None,
) -> list[Failed]:
    """Make samples; those that fail are tried again when all others are done.

    Args:
        run: makes some samples.
        samples: those that are not finished.
        manifest: open; gets a line for everything that is final.
        retries: how many more attempts a sample gets.
        on_outcome: progress.

    Returns:
        Those that failed to the end.

    Raises:
        ResourceError: the disk is full.
    """
    Attempts.clear(manifest.folder)
    lost: list[Failed] = []
    by_id = {sample.id: sample for sample in samples}

    def settle(outcome: Outcome) -> None:
        manifest.add(by_id[outcome.id], outcome)
        on_outcome(outcome, True)
        if isinstance(outcome, Failed):
            lost.append(outcome)

    left = list(samples)
    for attempt in range(retries + 1):
        failed = {sample.id: _silent(sample) for sample in left}
        for outcome in run(left):
            outcome = _seen_here(outcome, manifest.folder)
            _stop_if_full(outcome)
            if isinstance(outcome, Failed) and outcome.can_retry:
                failed[outcome.id] = outcome
                on_outcome(outcome, False)
            else:
                del failed[outcome.id]
                settle(outcome)
        left = [sample for sample in left if sample.id in failed]
        if attempt == retries:
            for outcome in failed.values():
                settle(outcome)
        if not left:
            break
    Attempts.clear(manifest.folder)
    return lost


def _silent(sample: Sample) -> Failed:
    return Failed(id=sample.id, stage="-", error="nothing came back: its processes were lost")


def _seen_here(outcome: Outcome, folder: Path) -> Outcome:
    """Find out whether another machine has written to the folder that we mean."""
    if isinstance(outcome, Failed) or (folder / outcome.video).is_file():
        return outcome
    hosts = ", ".join(sorted({str(stage["host"]) for stage in outcome.stages[-1:]}))
    error = f"{outcome.video} was written on {hosts} and cannot be seen here: --out must be shared"
    return Failed(id=outcome.id, stage=str(outcome.stages[-1]["name"]), error=error)


def _stop_if_full(outcome: Outcome) -> None:
    if isinstance(outcome, Failed) and outcome.stops:
        raise ResourceError(
            f"sample {outcome.id!r}",
            outcome.error,
            "room for the videos",
            "finished samples are kept: free some space and give the same command again",
        )
