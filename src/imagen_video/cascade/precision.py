"""Which precision a device multiplies fast."""

from __future__ import annotations

import torch


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the hardware multiplies it, else float32.

    That is on recent GPUs and on CPUs with AMX or AVX-512 BF16; where it is emulated it is slower
    than float32. Measured on both kinds of CPU: docs/lab-notes.md.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = device.type == "cpu" and _cpu_multiplies_bf16()
    return torch.bfloat16 if fast else torch.float32


def _cpu_multiplies_bf16() -> bool:
    # The queries are private and not in every torch: absent ones count as no.
    queries = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in queries)
