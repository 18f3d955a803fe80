"""The training loop. It knows nothing about diffusion: an objective turns a batch into a loss.

Every random draw of step i is keyed by (seed, i), so a run that was killed and resumed from a
checkpoint takes exactly the steps it would have taken.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from imagen_video.data.batch import BatchSource
from imagen_video.errors import InputError
from imagen_video.training.checkpoint import newest_checkpoint, restore, save_checkpoint
from imagen_video.training.config import TrainConfig
from imagen_video.training.ema import Ema
from imagen_video.training.objective import Objective
from imagen_video.training.stopping import StopRequest
from imagen_video.training.telemetry import Telemetry

OnSample = Callable[[nn.Module, int], None]
"""Called with the averaged network and the number of updates, to draw a sample sheet."""


def train(
    network: nn.Module,
    objective: Objective,
    batches: BatchSource,
    config: TrainConfig,
    run_dir: Path,
    *,
    meta: dict[str, Any] | None = None,
    on_sample: OnSample | None = None,
) -> nn.Module:
    """Train a network, or go on with the run in `run_dir`.

    Args:
        network: on its device, with initial weights; a checkpoint in `run_dir` replaces them.
        objective: batch to loss.
        batches: batch by step.
        config: how.
        run_dir: logs, checkpoints and samples.
        meta: written into every checkpoint; the spec of a resumed run must be equal.
        on_sample: draws a sample sheet now and then.

    Returns:
        The averaged network.

    Raises:
        InputError: if the loss is not finite, or the run folder belongs to another spec.
        ResourceError: if the disk is full.
        KeyboardInterrupt: after Ctrl-C, once the update is done and a checkpoint is written.
    """
    meta = {**(meta or {}), "config": config.to_json()}
    ema = Ema(network)
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=config.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=config.weight_decay,
        fused=True,
    )
    step = _resume(run_dir, network, ema, optimizer, meta)
    forward: nn.Module = network
    if config.compile:
        forward = cast("nn.Module", torch.compile(network))
    network.train()
    started = saved = sampled = time.monotonic()

    def checkpoint() -> None:
        save_checkpoint(
            run_dir,
            step=step,
            network=network,
            ema=ema.network,
            optimizer=optimizer,
            meta=meta,
            keep=config.keep_checkpoints,
        )

    with (
        Telemetry(run_dir, total_steps=config.steps, log_every=config.log_every) as telemetry,
        StopRequest() as stop,
    ):
        while step < config.steps and not stop.requested:
            batch = batches.batch(step)
            rate = config.learning_rate_at(step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with _autocast(config, network):
                loss = objective(forward, batch, _generator(config.seed, step))
            loss.backward()
            norm = nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
            _check_finite(loss, norm, step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            ema.update(network, config.ema_decay_at(step))
            kind = "loss_images" if batch.is_images else "loss_clips"
            telemetry.update(
                step,
                examples=len(batch.captions),
                learning_rate=rate,
                gradient_norm=norm.item(),
                **{kind: loss.item()},
            )
            step += 1
            now = time.monotonic()
            if now - saved > 60 * config.checkpoint_minutes:
                checkpoint()
                saved = now
            if on_sample and config.sample_minutes and now - sampled > 60 * config.sample_minutes:
                on_sample(ema.network, step)
                sampled = time.monotonic()
            if config.max_minutes is not None and now - started > 60 * config.max_minutes:
                break
        checkpoint()
        stop.raise_if_requested()
    if on_sample and config.sample_minutes:
        on_sample(ema.network, step)
    return ema.network


def _resume(
    run_dir: Path,
    network: nn.Module,
    ema: Ema,
    optimizer: torch.optim.Optimizer,
    meta: dict[str, Any],
) -> int:
    found = newest_checkpoint(run_dir)
    if found is None:
        return 0
    if _trained(found.meta) != _trained(meta):
        raise InputError(
            str(run_dir),
            "a run of another stage spec",
            "the same spec",
            "use another run folder, or the run's own spec",
        )
    restore(found, network, ema.network, optimizer)
    return found.step


def _trained(meta: dict[str, Any]) -> Any:
    """What a run trains, as JSON has it; how the stage is sampled may change between resumes."""
    stage = json.loads(json.dumps(meta.get("stage")))
    if isinstance(stage, dict):
        stage.pop("sampling", None)
    return stage


def _generator(seed: int, step: int) -> torch.Generator:
    """A CPU generator keyed by (seed, step)."""
    state = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def _autocast(config: TrainConfig, network: nn.Module) -> contextlib.AbstractContextManager[Any]:
    if config.precision == "fp32":
        return contextlib.nullcontext()
    device = next(network.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16)


def _check_finite(loss: torch.Tensor, norm: torch.Tensor, step: int) -> None:
    if not (bool(loss.isfinite()) and bool(norm.isfinite())):
        raise InputError(
            f"training step {step}",
            f"loss {loss.item()}, gradient norm {norm.item()}",
            "finite numbers",
            "resume from the last checkpoint with a lower learning rate",
        )
