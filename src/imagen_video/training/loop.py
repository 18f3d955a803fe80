"""The training loop. It knows nothing about diffusion: an objective turns a batch into a loss.

Every random draw of step i is keyed by (seed, i) and by the row of the whole batch, so a run that
was killed and resumed takes exactly the steps it would have taken, and several processes take those
of one, but for the order of sums. Every process runs this loop; only the main one writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from imagen_video.data.batches.batch import BatchSource, shard_source
from imagen_video.errors import InputError
from imagen_video.training.alarms import Alarms, Due
from imagen_video.training.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    restore,
    save_checkpoint,
)
from imagen_video.training.config import TrainConfig
from imagen_video.training.objective import Objective
from imagen_video.training.processes import Processes
from imagen_video.training.resume import check_resumable, other_optimizer
from imagen_video.training.state import TrainState
from imagen_video.training.stopping import StopRequest
from imagen_video.training.telemetry import Telemetry
from imagen_video.training.validation import LossByNoise, Validation

OnSample = Callable[[nn.Module, int], "np.ndarray | None"]
"""Called with the averaged network and the number of updates, to draw a sample sheet.

Every process calls it, because a split network needs all of them to run; what it returns is shown
in the logs of the main process.
"""


def train(  # noqa: PLR0913 - one run, its parts
    network: nn.Module,
    objective: Objective,
    batches: BatchSource,
    config: TrainConfig,
    run_dir: Path,
    *,
    meta: dict[str, Any] | None = None,
    on_sample: OnSample | None = None,
    validation: Validation | None = None,
    loss_by_noise: LossByNoise | None = None,
    processes: Processes | None = None,
) -> nn.Module:
    """Train a network, or go on with the run in `run_dir`.

    Args:
        network: with initial weights; a checkpoint in `run_dir` replaces them. A process alone
            trains it where it is, several bring it to their devices.
        objective: batch to loss.
        batches: batch by step: the whole batch, which several processes share.
        config: how.
        run_dir: logs, checkpoints and samples.
        meta: written into every checkpoint; the spec of a resumed run must be equal.
        on_sample: draws a sample sheet now and then.
        validation: measures the averaged network on held-out clips now and then.
        loss_by_noise: what the objective records, for the log.
        processes: who trains; found out from the environment if None.

    Returns:
        The averaged network.

    Raises:
        InputError: if the loss is not finite, or the run folder belongs to another spec.
        ResourceError: if the disk is full.
        KeyboardInterrupt: after Ctrl-C, once the update is done and a checkpoint is written.
    """
    processes = processes or Processes.join(config)
    state = TrainState.start(network, config, processes)
    meta = _resume(run_dir, state, {**(meta or {}), "config": config.to_json()})
    alarms = Alarms(config, main=processes.is_main)
    with Telemetry(run_dir, config, active=processes.is_main) as telemetry:
        with StopRequest() as stop:
            for due in _updates(state, objective, batches, alarms, telemetry, stop):
                if due.log:
                    telemetry.line(state.step, loss_by_noise.take() if loss_by_noise else {})
                if due.validation and validation:
                    with state.ema.evaluating() as averaged:
                        telemetry.numbers(state.step, validation(averaged, processes))
                if due.checkpoint:
                    _save(run_dir, state, meta)
                    alarms.saved()
                if due.samples and on_sample:
                    _sample(state, on_sample, telemetry)
                    alarms.sampled()
            _save(run_dir, state, meta)
        if any(processes.sum(float(stop.requested))):
            raise KeyboardInterrupt
        if on_sample and config.sample_minutes:
            _sample(state, on_sample, telemetry)
    return state.ema.network


def _updates(
    state: TrainState,
    objective: Objective,
    batches: BatchSource,
    alarms: Alarms,
    telemetry: Telemetry,
    stop: StopRequest,
) -> Iterator[Due]:
    """Update the weights again and again; yield after each what else is to be done."""
    processes = state.processes
    batches = shard_source(batches, processes.rank, processes.ranks)
    while state.step < state.config.steps:
        started = time.monotonic()
        batch = batches.batch(state.step)
        waited = time.monotonic() - started
        share = state.backward(objective, batch)
        norm = state.clip().item()
        # with the loss go the wishes of every process, so that all of them do the same next
        loss, *wishes = processes.sum(share, *alarms.ring(stop_requested=stop.requested))
        _check_finite(loss, norm, state.step)
        rate = state.update()
        telemetry.update(
            examples=batch.whole,
            learning_rate=rate,
            waited=waited,
            gradient_norm=norm,
            **{"loss_images" if batch.is_images else "loss_clips": loss},
        )
        due = alarms.due(state.step, *wishes)
        yield due
        if due.stop:
            return


def _sample(state: TrainState, on_sample: OnSample, telemetry: Telemetry) -> None:
    with state.ema.evaluating() as averaged:
        sheet = on_sample(averaged, state.step)
    if sheet is not None:
        telemetry.picture(state.step, "samples", sheet)


def _resume(run_dir: Path, state: TrainState, meta: dict[str, Any]) -> dict[str, Any]:
    """Go on with the run in a folder if there is one; return what its checkpoints say from now."""
    processes = state.processes
    about = processes.on_main(
        lambda: found.about() if (found := newest_checkpoint(run_dir)) else None
    )
    if about is None:
        return meta
    checkpoint = Checkpoint.of(about)
    meta = processes.on_main(lambda: check_resumable(run_dir, checkpoint, meta))
    restore(
        checkpoint,
        state.network,
        state.ema.network,
        state.optimizer,
        other_optimizer=other_optimizer(checkpoint, state.config),
    )
    state.step = state.saved_step = checkpoint.step
    return meta


def _save(run_dir: Path, state: TrainState, meta: dict[str, Any]) -> None:
    if state.step == state.saved_step:
        return
    save_checkpoint(
        run_dir,
        step=state.step,
        network=state.network,
        ema=state.ema.network,
        optimizer=state.optimizer,
        meta=meta,
        keep=state.config.keep_checkpoints,
        processes=state.processes,
    )
    state.saved_step = state.step


def _check_finite(loss: float, norm: float, step: int) -> None:
    """Stop before an update that would ruin the weights; all processes see the same numbers.

    Raises:
        InputError: if the loss or the gradient is not a number.
    """
    if not (np.isfinite(loss) and np.isfinite(norm)):
        raise InputError(
            f"training step {step}",
            f"loss {loss}, gradient norm {norm}",
            "finite numbers",
            "resume from the last checkpoint with a lower learning rate",
        )
