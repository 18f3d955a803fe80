"""The memory of one training step, from running it without data.

The step is the real one - the stage's network and loss, autocast, checkpointing, backward - on fake
tensors, which have shapes and storages but no memory; every storage is followed from its
allocation to its end. So what autograd keeps, and what lies beside it for a moment, is counted and
not guessed. torch's own `torch.distributed._tools.mem_tracker` does the same with statistics of
every module, which make it four times slower, and knows no average of the weights.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
from typing import cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from imagen_video.cascade.conditioning import condition_on, low_res_of
from imagen_video.cascade.spec import Clip, StageSpec
from imagen_video.diffusion.parameterization import diffuse, v_target
from imagen_video.models.conditions import Conditions
from imagen_video.models.cost import LiveBytes
from imagen_video.models.unet import VideoUNet
from imagen_video.training.config import Precision
from imagen_video.training.objective import StageObjective

FLOAT_BYTES = 4
DEFAULT_TOKENS = 128
"""Tokens of a caption where the encoder names no bound (T5 in Imagen)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepBytes:
    """Bytes that a step needs besides weights, average and optimiser."""

    activations: int
    """Peak of everything but gradients of parameters: inputs, activations, temporary tensors."""
    with_gradients: int
    """Peak when the gradients of parameters appear during the step: less than the sum, for they
    appear while activations go."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedShape:
    """What a step is trained on."""

    rows: int
    """Clips (or images) that one process works through at once."""
    frames: int
    height: int
    width: int

    @staticmethod
    def of(stage: StageSpec, rows: int, *, images: bool = False) -> TrainedShape:
        """Return the shape of the stage's training clips, or of images."""
        height, width = stage.crop or (stage.output.height, stage.output.width)
        frames = 1 if images else stage.train_frames or stage.output.frames
        return TrainedShape(rows=rows, frames=frames, height=height, width=width)


@functools.lru_cache(maxsize=512)
def step_bytes(
    stage: StageSpec,
    source: Clip | None,
    shape: TrainedShape,
    *,
    precision: Precision,
    checkpointing: bool,
    tokens: int = DEFAULT_TOKENS,
) -> StepBytes:
    """Run a training step without data and return what it needs.

    Args:
        stage: what is trained.
        source: its input; None for the base.
        shape: the clips of one process.
        precision: fp32, or bf16 autocast.
        checkpointing: whether blocks are recomputed in the backward pass.
        tokens: length of the longest caption of the batch.
    """
    mode = FakeTensorMode()
    network = fake_network(stage, mode)
    network.gradient_checkpointing = checkpointing
    followed = _StepBytes(network)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")
    with mode, followed, autocast:
        stage_loss(network, stage, source, shape, tokens).backward()
    gc.collect()  # the follower knows the network, and the network's hooks the follower
    return StepBytes(activations=followed.peak_activations, with_gradients=followed.peak)


def fake_network(stage: StageSpec, mode: FakeTensorMode) -> VideoUNet:
    """Build a stage's network with fake parameters."""
    with torch.device("meta"):
        network = VideoUNet(stage.unet)
    with mode:
        for module in network.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                fake = torch.empty_strided(parameter.shape, parameter.stride(), device="cpu")
                module.register_parameter(name, nn.Parameter(fake))
    return network.train()


class _StepBytes(LiveBytes):
    """Follows storages, gradients of parameters apart from all others; parameters are left out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.peak_activations = 0
        self._gradients = 0
        for parameter in network.parameters():
            self._known.add(parameter.untyped_storage()._cdata)
            parameter.register_post_accumulate_grad_hook(self._on_gradient)

    def _follow(self, storage: torch.UntypedStorage) -> None:
        super()._follow(storage)
        self.peak_activations = max(self.peak_activations, self.live - self._gradients)

    def _on_gradient(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self._gradients += _bytes(parameter.grad)


def stage_loss(
    network: nn.Module, stage: StageSpec, source: Clip | None, shape: TrainedShape, tokens: int
) -> Tensor:
    """What `StageObjective` computes, with the conditions that a batch can have at most."""
    size = (shape.rows, shape.frames, stage.unet.channels, shape.height, shape.width)
    x, eps, logsnr = torch.empty(size), torch.empty(size), torch.empty(shape.rows)
    conditions = _conditions(stage, shape, tokens)
    if stage.unet.given_frames and shape.frames > 1:
        mask = torch.zeros(shape.rows, shape.frames, dtype=torch.bool)
        conditions = conditions.replace(given_frames=x, given_mask=mask)
    if source is not None:
        low_res = low_res_of(x, source, stage.output)
        noise, level = torch.empty(size), torch.empty(shape.rows)
        conditions = condition_on(conditions, low_res, noise, level, fill=stage.temporal_fill)
    objective = StageObjective(stage=stage, source=source, encoder=None)
    v_hat = network(diffuse(x, eps, logsnr), logsnr, conditions)
    return objective.error(v_hat, v_target(x, eps, logsnr), logsnr, conditions)


def _conditions(stage: StageSpec, shape: TrainedShape, tokens: int) -> Conditions:
    """Labels of full length."""
    unet, rows = stage.unet, shape.rows
    conditions = Conditions()
    if unet.text_width is not None:
        conditions = conditions.replace(
            text_states=torch.empty(rows, tokens, unet.text_width),
            text_mask=torch.ones(rows, tokens, dtype=torch.bool),
        )
    if unet.num_classes is not None:
        conditions = conditions.replace(class_id=torch.zeros(rows, dtype=torch.long))
    if unet.vector_width is not None:
        conditions = conditions.replace(vector=torch.empty(rows, unet.vector_width))
    if unet.frame_rate:
        conditions = conditions.replace(frame_rate=torch.empty(rows))
    if unet.guidance_weight:
        conditions = conditions.replace(guidance_weight=torch.empty(rows))
    return conditions


def _bytes(tensor: Tensor) -> int:
    return cast("int", tensor.untyped_storage().nbytes())
