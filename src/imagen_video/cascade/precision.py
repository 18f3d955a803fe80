"""Which precision a device multiplies fast."""

from __future__ import annotations

import torch


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the hardware multiplies it (recent GPUs, CPUs with AMX), else float32.

    Where it is emulated it is slower than float32. CPUs with AVX-512 BF16 and no AMX still count as
    slow here, although both training and sampling gained there (docs/lab-notes.md).
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
        fast = device.type == "cpu" and has_amx is not None and has_amx()
    return torch.bfloat16 if fast else torch.float32
