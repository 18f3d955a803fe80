"""`VideoUNet`: one network for the base and all super-resolution stages (paper, Fig. 7).

    input    z, the low-res video, given frames and their mask, concatenated on channels
    levels   strided convolution, blocks, skip ... skip / sqrt(2), blocks, upsampling convolution
    output   v = alpha eps - sigma x, the same shape as z; a student's is a + w b / 10, linear in
             the guidance weight w as guidance itself is

It knows no schedule, no guidance, no dtype policy and no device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from imagen_video.errors import InputError
from imagen_video.models.blocks import SpaceTimeBlock
from imagen_video.models.conditions import Conditions
from imagen_video.models.embeddings import ConditionEmbedding, TextContext, per_frame
from imagen_video.models.layers import (
    Downsample,
    Upsample,
    from_patches,
    make_norm,
    swish,
    to_patches,
    zero_init,
)
from imagen_video.models.prior import LowResPrior
from imagen_video.models.spec import UNetSpec

GUIDANCE_SCALE = 0.1
"""Of w before b: an optimiser moves every weight by about its rate, and w goes up to 15."""


class VideoUNet(nn.Module):
    """Predicts v from a noisy video, its log SNR and the conditions of its spec."""

    def __init__(self, spec: UNetSpec) -> None:
        """Build the network; weights are random, residual branches and the output are zero."""
        super().__init__()
        self.spec = spec
        self.gradient_checkpointing = False
        """Recompute blocks in the backward pass instead of keeping their activations."""
        self.text_context = TextContext(spec.text_width) if spec.text_width is not None else None
        self.embedding = ConditionEmbedding(spec)
        pixels = spec.patch_size**2
        inputs = spec.channels * (1 + int(spec.low_res) + int(spec.given_frames)) + int(
            spec.given_frames
        )
        widths = [level.channels for level in spec.levels]
        self.input = nn.Conv2d(inputs * pixels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        self.downsample = nn.ModuleList()
        self.up = nn.ModuleList()
        self.upsample = nn.ModuleList()
        for depth, level in enumerate(spec.levels):
            if depth:
                self.downsample.append(Downsample(widths[depth - 1], widths[depth]))
            self.down.append(self._blocks([widths[depth]] * level.num_blocks, depth))
        for depth in reversed(range(len(widths) - 1)):
            self.upsample.append(Upsample(widths[depth + 1], widths[depth]))
            first = [2 * widths[depth]]  # joined with the skip
            rest = [widths[depth]] * (spec.levels[depth].num_blocks - 1)
            self.up.append(self._blocks(first + rest, depth))
        self.output_norm = make_norm(spec.levels[0].norm, widths[0])
        self.output = zero_init(nn.Conv2d(widths[0], spec.channels * pixels, 3, padding=1))
        self.guidance_output = (
            zero_init(nn.Conv2d(widths[0], spec.channels * pixels, 3, padding=1))
            if spec.guidance_weight
            else None
        )
        """b of v = a + w b / 10. Deviation: the paper embeds w like the noise level and no more;
        that alone did not come to depend on w in hundreds of updates (docs/lab-notes.md)."""
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def _blocks(self, channels_in: list[int], depth: int) -> nn.ModuleList:
        level = self.spec.levels[depth]
        return nn.ModuleList(SpaceTimeBlock(channels, level, self.spec) for channels in channels_in)

    def forward(self, z: Tensor, logsnr: Tensor, conditions: Conditions) -> Tensor:
        """Predict v.

        Args:
            z: noisy video, `(b, f, c, h, w)`.
            logsnr: log SNR, `(b,)` or `(b, f)`.
            conditions: what the spec names; a missing text is the null text.

        Returns:
            v, `(b, f, c, h, w)`.

        Raises:
            InputError: if the shape of z or a condition does not fit the spec.
        """
        batch, num_frames, channels, height, width = self._check(z, conditions)
        # noise level and outer products stay in the weights' dtype outside autocast
        dtype = z.dtype
        is_image = conditions.is_image if num_frames > 1 else None
        text = self._text(conditions, batch, dtype, z.device)
        # in float32 at least: bfloat16 has 8 bits, and t = 0.900 and 0.902 would look alike
        embedding = self.embedding(
            logsnr.to(torch.promote_types(dtype, torch.float32)), conditions, text, num_frames
        )
        prior = self._prior(logsnr, conditions, dtype)
        seen = z if prior is None else prior.input(z)
        x = torch.cat(self._inputs(seen, conditions), dim=2).flatten(0, 1)
        x = self.input(to_patches(x, self.spec.patch_size))
        skips: list[Tensor] = []
        for depth, blocks in enumerate(self.down):
            if depth:
                skips.append(x)
                x = self.downsample[depth - 1](x)
            x = self._run(blocks, x, embedding, text, num_frames, is_image)
        for blocks, upsample in zip(self.up, self.upsample, strict=True):
            x = torch.cat([upsample(x), skips.pop() / math.sqrt(2)], dim=1)
            x = self._run(blocks, x, embedding, text, num_frames, is_image)
        x = self._output(swish(self.output_norm(x)), conditions.guidance_weight, num_frames)
        x = (
            from_patches(x, self.spec.patch_size)
            .reshape(batch, num_frames, channels, height, width)
            .to(dtype)
        )
        return x if prior is None else prior.as_v(x, z)

    def _run(
        self,
        blocks: nn.Module,
        x: Tensor,
        embedding: Tensor,
        text: tuple[Tensor, Tensor] | None,
        num_frames: int,
        is_image: Tensor | None,
    ) -> Tensor:
        assert isinstance(blocks, nn.ModuleList)
        for block in blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, embedding, text, num_frames, is_image, use_reentrant=False)
            else:
                x = block(x, embedding, text, num_frames, is_image)
        return x

    def _output(self, x: Tensor, weight: Tensor | None, num_frames: int) -> Tensor:
        """Return a; a + w b / 10 where the network takes a guidance weight `(b,)` or `(b, f)`."""
        if self.guidance_output is None or weight is None:
            return self.output(x)
        rows = per_frame(weight).expand(-1, num_frames).flatten()[:, None, None, None]
        return self.output(x) + GUIDANCE_SCALE * rows * self.guidance_output(x)

    def _prior(
        self, logsnr: Tensor, conditions: Conditions, dtype: torch.dtype
    ) -> LowResPrior | None:
        if self.spec.residual_std is None:
            return None
        assert conditions.low_res is not None
        return LowResPrior.of(
            conditions.low_res.to(dtype), conditions.low_res_logsnr, logsnr, self.spec.residual_std
        )

    def _inputs(self, z: Tensor, conditions: Conditions) -> list[Tensor]:
        parts = [z]
        if self.spec.low_res:
            assert conditions.low_res is not None
            parts.append(conditions.low_res.to(z.dtype))
        if self.spec.given_frames:
            batch, num_frames, channels, height, width = z.shape
            if conditions.given_frames is None or conditions.given_mask is None:
                parts.append(z.new_zeros(batch, num_frames, channels + 1, height, width))
            else:
                mask = conditions.given_mask[:, :, None, None, None]
                given = torch.where(mask, conditions.given_frames.to(z.dtype), z.new_zeros(()))
                parts += [given, mask.to(z.dtype).expand(batch, num_frames, 1, height, width)]
        return parts

    def _text(
        self, conditions: Conditions, batch: int, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor, Tensor] | None:
        if self.text_context is None:
            return None
        states, mask = conditions.text_states, conditions.text_mask
        if states is None or mask is None:
            states = torch.zeros(
                batch, 1, self.text_context.null_token.shape[0], dtype=dtype, device=device
            )
            mask = torch.zeros(batch, 1, dtype=torch.bool, device=device)
        return self.text_context(states.to(dtype), mask)

    def _check(self, z: Tensor, conditions: Conditions) -> tuple[int, int, int, int, int]:
        if z.ndim != 5 or z.shape[2] != self.spec.channels:
            raise InputError(
                "VideoUNet",
                f"a tensor of shape {tuple(z.shape)}",
                f"(b, f, {self.spec.channels}, h, w)",
                "reorder axes",
            )
        batch, num_frames, channels, height, width = z.shape
        self.spec.check_size("VideoUNet", height, width)
        if self.spec.low_res:
            _check_shape("low_res", conditions.low_res, tuple(z.shape), "upsample it first")
        if self.spec.given_frames and conditions.given_frames is not None:
            _check_shape(
                "given_frames",
                conditions.given_frames,
                tuple(z.shape),
                "put them into a whole clip",
            )
        for name, width_expected in (
            ("text_states", self.spec.text_width),
            ("vector", self.spec.vector_width),
        ):
            value = getattr(conditions, name)
            if value is not None and width_expected is not None:
                _check_shape(
                    name, value, (*value.shape[:-1], width_expected), "give what the spec names"
                )
        return batch, num_frames, channels, height, width


def _check_shape(name: str, value: Tensor | None, shape: tuple[int, ...], fix: str) -> None:
    """Raise `InputError` unless a condition is there and has the shape."""
    if value is None or tuple(value.shape) != shape:
        got = "none" if value is None else f"shape {tuple(value.shape)}"
        raise InputError(f"Conditions.{name}", got, f"shape {shape}", fix)
