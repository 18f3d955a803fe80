"""Who is imitated.

A teacher answers with the v that sampling would use. It is asked without gradients, and with and
without the prompt in one call. A student starts from its weights (`models.growth`).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn

from imagen_video.diffusion.guidance import guided_prediction
from imagen_video.diffusion.schedule import logsnr_from_t
from imagen_video.models.conditions import Conditions
from imagen_video.tensor_types import LogSNR, PerExample, Video

Mode = Literal["conditional", "guided", "weighted"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """A frozen network and how it is asked."""

    network: nn.Module
    """In eval mode, on its device."""
    mode: Mode
    """conditional: as it is, for w = 0. guided: (1 + w) cond - w uncond, in one call of twice the
    batch. weighted: w is an input."""
    guidance_stop: float = 0.0
    """The t at which guidance ends, as `SamplingSpec` says; 0 = in no step. What is taught ends
    there too: a student is told one w in all steps."""

    @classmethod
    def of(cls, network: nn.Module, mode: Mode, guidance_stop: float = 0.0) -> Teacher:
        """Freeze a network."""
        network = network.eval().requires_grad_(False)
        return cls(network=network, mode=mode, guidance_stop=guidance_stop)

    @torch.no_grad()
    def __call__(
        self, z: Video, logsnr: LogSNR, conditions: Conditions, weight: PerExample | None
    ) -> Video:
        """Predict v; what is subtracted is subtracted in z's dtype, float32 also under autocast."""
        if self.mode == "conditional":
            return self.network(z, logsnr, conditions).to(z.dtype)
        assert weight is not None
        if self.mode == "weighted":
            return self.network(z, logsnr, conditions.replace(guidance_weight=weight)).to(z.dtype)

        def predict(z: Tensor, logsnr: Tensor, conditional: Tensor) -> Tensor:
            return self.network(z, logsnr, conditions.twice().drop(~conditional)).to(z.dtype)

        return guided_prediction(predict, self._until_stop(weight, logsnr))(z, logsnr)

    def _until_stop(self, weight: PerExample, logsnr: LogSNR) -> PerExample:
        if self.guidance_stop == 0:
            return weight
        row = logsnr if logsnr.ndim == 1 else logsnr[:, 0]  # one level for all frames of a clip
        end = logsnr_from_t(torch.tensor(self.guidance_stop, dtype=row.dtype, device=row.device))
        return torch.where(row < end, weight, 0.0)
