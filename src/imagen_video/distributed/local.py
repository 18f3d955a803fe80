"""A batch in this process, one sample after another: the same steps as on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imagen_video.distributed.sample import Outcome, Sample
from imagen_video.distributed.worker import Step, Work, first_row, outcome_of


def run_here(work: Work, samples: Sequence[Sample]) -> Iterator[Outcome]:
    """Yield what becomes of each sample, in order.

    With a bound on the memory a step is loaded anew for every sample, so that the weights of one
    stage at a time are in memory and tiles are cut as `generate` cuts them; else all stay.

    Raises:
        BundleError: if weights cannot be loaded.
    """
    loaded: dict[str, Step] = {}
    for sample in samples:
        row = first_row(sample)
        for name in work.steps:
            if name not in loaded:
                loaded[name] = work.step(name)
            row = loaded[name](row)
            if work.memory is not None and name in work.stages:
                del loaded[name]
        yield outcome_of(row)
