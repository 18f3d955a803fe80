from __future__ import annotations

import pytest
import torch

from imagen_video.cascade.precision import fast_dtype

CPU = torch.device("cpu")
AMX, AVX512 = "_is_amx_tile_supported", "_is_avx512_bf16_supported"


@pytest.mark.parametrize(
    ("amx", "avx512", "dtype"),
    [
        (True, True, torch.bfloat16),
        (True, False, torch.bfloat16),
        (False, True, torch.bfloat16),
        (False, False, torch.float32),
    ],
)
def test_a_cpu_that_multiplies_bf16_takes_it(
    amx: bool, avx512: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, AMX, lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, AVX512, lambda: avx512, raising=False)
    assert fast_dtype(CPU) == dtype


def test_a_torch_that_cannot_be_asked_counts_as_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, AMX, raising=False)
    monkeypatch.delattr(torch.cpu, AVX512, raising=False)
    assert fast_dtype(CPU) == torch.float32


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_is_asked(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    expected = torch.bfloat16 if supported else torch.float32
    assert fast_dtype(torch.device("cuda")) == expected


def test_other_devices_stay_in_float32() -> None:
    assert fast_dtype(torch.device("mps")) == torch.float32
