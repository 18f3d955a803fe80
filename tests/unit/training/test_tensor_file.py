"""The files are safetensors files like any other, and are read whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from imagen_video.errors import DataError
from imagen_video.training.tensor_file import DTYPES, TensorWriter, fill_tensors, stored_shapes
from unit.training.small_runs import assert_equal


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = {str(dtype): (torch.randn(3, 5, generator=generator) * 9).to(dtype) for dtype in DTYPES}
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    return {
        **made,
        "step": torch.tensor(7.0),
        "empty": torch.zeros(0, 2),
        "channels_last": weight.to(memory_format=torch.channels_last),
    }


def write(path: Path, values: dict[str, Tensor]) -> str:
    writer = TensorWriter(path, values)
    for tensor in values.values():
        writer.add(tensor)
    writer.close()
    return writer.digest()


def test_safetensors_itself_reads_what_was_written_tensor_by_tensor(tmp_path: Path) -> None:
    digest = write(tmp_path / "a", tensors())
    assert_equal(load_file(tmp_path / "a"), tensors())
    assert digest == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors().items()}
    assert stored_shapes(tmp_path / "a") == shapes


def test_tensors_are_filled_in_place_and_keep_their_memory_format(tmp_path: Path) -> None:
    save_file({"w": torch.ones(4, 3, 3, 3), "s": torch.tensor(2.0)}, tmp_path / "a")
    weight = torch.zeros(4, 3, 3, 3).to(memory_format=torch.channels_last)
    scalar = torch.zeros(())
    fill_tensors(tmp_path / "a", {"w": weight, "s": scalar})
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert (weight == 1).all()
    assert scalar == 2


def test_a_file_that_does_not_fit_changes_nothing_and_says_what_differs(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2), "b": torch.ones(3), "d": torch.ones(1)}, tmp_path / "f")
    here = {"a": torch.zeros(2), "b": torch.zeros(4), "c": torch.zeros(1)}
    with pytest.raises(DataError) as raised:
        fill_tensors(tmp_path / "f", here)
    for problem in ("c is missing", "d is unknown", "b has shape (3,), not (4,)"):
        assert problem in str(raised.value)
    assert not any(tensor.any() for tensor in here.values())


def test_an_error_is_kept_so_that_the_other_processes_are_not_left_waiting(
    tmp_path: Path,
) -> None:
    writer = TensorWriter(tmp_path / "no" / "folder", tensors())
    for tensor in tensors().values():
        writer.add(tensor)
    writer.close()
    with pytest.raises(FileNotFoundError):
        writer.digest()
