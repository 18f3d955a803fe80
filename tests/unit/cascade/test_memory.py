from __future__ import annotations

import platform
import subprocess
import sys

import pytest

REUSE = """
import resource, sys
import torch
from imagen_video.cascade.memory import give_back_freed, keep_freed, resident_bytes

if sys.argv[1] == "kept":
    keep_freed()
large = [48 << 20, 96 << 20]  # more than glibc ever keeps by itself
for size in large:
    torch.zeros(size, dtype=torch.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    for size in large:
        torch.zeros(size, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
held = resident_bytes()
give_back_freed()
print(held - resident_bytes())
"""


def faults_and_given_back(mode: str) -> tuple[int, int]:
    told = subprocess.run(
        [sys.executable, "-c", REUSE, mode], capture_output=True, text=True, check=True
    )
    faults, given_back = told.stdout.split()
    return int(faults), int(given_back)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's allocator")
def test_freed_memory_is_used_again_and_given_back_when_asked() -> None:
    faults, given_back = faults_and_given_back("kept")
    usual_faults, _ = faults_and_given_back("usual")
    # eight times 144 MB: 295,000 small pages, 576 huge ones
    assert usual_faults > 500
    assert faults < usual_faults / 3  # aligned blocks fit a hole of their own size only mostly
    assert given_back > 64 << 20
