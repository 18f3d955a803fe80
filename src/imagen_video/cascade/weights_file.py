"""Writing safetensors so that a full disk is told as what it is."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as a safetensors file, which the caller puts in place when it is whole.

    Args:
        tensors: contiguous, none sharing memory with another.
        path: the file.

    Raises:
        OSError: if the file cannot be written. safetensors reports a full disk by an exception of
            its own that is no `OSError`; the system's error number is in its text.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        raise OSError(int(found[1]) if found else errno.EIO, str(error), str(path)) from error
