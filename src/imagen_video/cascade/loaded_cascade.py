"""A cascade in memory: where its networks come from and lie, and the run of a settled request.

`ImagenVideoPipeline` adds the ways in which people call it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import nn

from imagen_video.cascade.argument_types import check_types
from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.cascade.outputs import check_output_type
from imagen_video.cascade.precision import fast_dtype
from imagen_video.cascade.request import PipelineOutput, Request
from imagen_video.cascade.resolve_bundle import find_bundle
from imagen_video.cascade.run_plan import RunPlan, plan_run
from imagen_video.cascade.runner import OnFrames, OnProgress, OnStage, Runner
from imagen_video.cascade.spec import CascadeSpec
from imagen_video.cascade.work_folder import WorkFolder
from imagen_video.errors import BundleError, InputError
from imagen_video.text.base import TextEmbedding, TextEncoder


class LoadedCascade:
    """A cascade with its weights and its text encoder, ready to sample."""

    def __init__(
        self,
        spec: CascadeSpec,
        load_network: Callable[[str], nn.Module],
        encoder: TextEncoder | None = None,
        *,
        provenance: Mapping[str, Any] | None = None,
        digest: str = "",
        check_weights: Callable[[str], None] | None = None,
        has_weights: Callable[[str], bool] | None = None,
    ) -> None:
        """Wrap a cascade.

        Args:
            spec: the cascade.
            load_network: stage name to network in eval mode.
            encoder: text encoder; None = built from the spec at the first prompt.
            provenance: where the weights come from.
            digest: identifies the weights.
            check_weights: raises `BundleError` if a stage's weights cannot be loaded; called for
                every stage of a run before the first one starts.
            has_weights: whether a stage can be loaded at all; None = every stage can.
        """
        self.spec = spec
        self.provenance = dict(provenance or {})
        self.digest = digest
        self.device = torch.device("cpu")
        self.bf16 = False
        self.one_stage_resident = False
        """Keep only the running stage's weights in memory."""
        self._load_network = load_network
        self._check_weights = check_weights
        self._has_weights = has_weights
        self._networks: dict[str, nn.Module] = {}
        self._encoder = encoder

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        encoder: TextEncoder | None = None,
    ) -> Self:
        """Open a cascade: a built-in name (`emoji`), a bundle folder, or a hub id.

        Args:
            name_or_path: which.
            revision: branch, tag or commit of a hub id.
            encoder: its text encoder, where the weights lie elsewhere than the bundle says, or on a
                device of its own. None = built at the first prompt, on the cascade's device.

        Raises:
            BundleError: if it cannot be found or is damaged.
        """
        bundle = Bundle.open(find_bundle(name_or_path, revision))
        return cls(
            bundle.spec,
            bundle.network,
            encoder,
            provenance=bundle.provenance,
            digest=bundle.digest,
            check_weights=bundle.check_weights,
            has_weights=bundle.has_weights,
        )

    def save_pretrained(self, path: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Write the cascade as a bundle; stages without weights stay without."""
        names = [stage.name for stage in self.spec.stages]
        there = [n for n in names if self._has_weights is None or self._has_weights(n)]
        networks = {name: self.network(name) for name in there}
        save_bundle(path, self.spec, networks, provenance=self.provenance, dtype=dtype)

    def to(
        self,
        device: torch.device | str | None = None,
        dtype: torch.dtype | Literal["auto"] | None = None,
    ) -> Self:
        """Choose the device, and fp32 or bf16 autocast for the networks.

        Args:
            device: where the networks run; None = as before.
            dtype: float32, bfloat16, or "auto": bfloat16 where the device multiplies it in
                hardware. None = as before; a new pipeline has float32.

        Raises:
            InputError: for another dtype.
        """
        if dtype not in (None, "auto", torch.float32, torch.bfloat16):
            raise InputError(
                "dtype", str(dtype), 'torch.float32, torch.bfloat16 or "auto"', "choose one of them"
            )
        if device is not None:
            self.device = torch.device(device)
            for network in self._networks.values():
                network.to(self.device)
        if dtype is not None:
            chosen = fast_dtype(self.device) if dtype == "auto" else dtype
            self.bf16 = chosen == torch.bfloat16
        return self

    def network(self, stage: str) -> nn.Module:
        """Return a stage's network, loading it at first use."""
        if stage not in self._networks:
            if self.one_stage_resident:
                self._networks.clear()
            self._networks[stage] = self._load_network(stage).to(self.device)
        return self._networks[stage]

    def check(self, request: Request, memory: int | None = None) -> RunPlan:
        """Settle a request without computing anything: its stages, sizes, weights and memory.

        Raises:
            InputError: for anything that cannot be used.
            BundleError: if a stage's weights, or the text encoder's identity, are missing or
                damaged.
            ResourceError: if the memory does not suffice.
        """
        check_types({"memory": memory})
        plan = plan_run(self.spec, request)
        if self._encoder is None and self._is_told(request):
            from imagen_video.text.registry import checked_identity

            checked_identity(self._encoder_identity())
        if self._check_weights is not None:
            for stage in plan.stages:
                if stage.name not in self._networks:
                    self._check_weights(stage.name)
        plan.check_memory(memory)
        return plan

    def run(  # noqa: PLR0913
        self,
        request: Request,
        *,
        memory: int | None = None,
        keep: Sequence[str] = (),
        work: WorkFolder | None = None,
        output_type: str = "np",
        on_progress: OnProgress | None = None,
        on_stage: OnStage | None = None,
        on_frames: OnFrames | None = None,
    ) -> PipelineOutput:
        """Run a request.

        Args:
            request: what to make.
            memory: bytes that the process may use; stages that can be tiled are, the others fail
                early.
            keep: stages whose outputs are returned in `stages`.
            work: folder for finished stages; those found in it are not run again.
            output_type: `np`, `pil`, `pt`, or `none` when `on_frames` takes the result.
            on_progress: called after every part of a stage.
            on_stage: called with every finished stage and its output.
            on_frames: called in order with the first index and uint8 frames `(b, n, h, w, 3)` of
                the last stage.

        Raises:
            InputError: for anything that cannot be used.
            ResourceError: if memory or disk do not suffice.
            Stopped: if a callback raises it; finished stages are in its `output`, and in `work`.
        """
        check_output_type(output_type)
        for name in keep:
            self.spec.index(name)
        plan = self.check(request, memory)
        return Runner(
            request=request,
            plan=plan,
            text=self._encode(request),
            network=self.network,
            bf16=self.bf16,
            memory=memory,
            keep=keep,
            work=work,
            output_type=output_type,
            on_progress=on_progress,
            on_stage=on_stage,
            on_frames=on_frames,
        ).run()

    def _encode(self, request: Request) -> tuple[TextEmbedding | None, TextEmbedding | None]:
        """Encode the prompts and the negative prompts."""
        if not self._is_told(request):
            return None, None
        if self._encoder is None:
            from imagen_video.text.registry import build_text_encoder

            self._encoder = build_text_encoder(self._encoder_identity(), device=self.device)
        texts = (request.prompts, request.negative_prompts or ())
        prompts, negatives = (_embedding(self._encoder, group) for group in texts)
        return prompts, negatives

    def _is_told(self, request: Request) -> bool:
        """Whether the cascade hears text and the request has any."""
        hears_text = any(stage.unet.text_width for stage in self.spec.stages)
        return hears_text and any((*request.prompts, *(request.negative_prompts or ())))

    def _encoder_identity(self) -> dict[str, Any]:
        """Return what the bundle says of its text encoder.

        Raises:
            BundleError: if it says nothing.
        """
        if self.spec.text_encoder is None:
            raise BundleError(
                "text encoder",
                "none in the bundle",
                "text_encoder.json",
                "restore the bundle's file, or pass an encoder in Python",
            )
        return dict(self.spec.text_encoder)


def _embedding(encoder: TextEncoder, texts: Sequence[str]) -> TextEmbedding | None:
    """Encode texts; an empty one is the null text. None for no texts."""
    told = [text for text in texts if text]
    if len(told) == len(texts):
        return encoder.encode(texts) if texts else None
    known = encoder.encode(told).rows() if told else [torch.zeros(0, encoder.width)]
    states, null = iter(known), known[0][:0]
    return TextEmbedding.from_rows([next(states) if text else null for text in texts])
