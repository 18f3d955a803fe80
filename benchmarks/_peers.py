"""The peers of this project in an environment of their own, made once."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import torch

REQUIREMENTS = (
    "beartype>=0.21,<1",
    "diffusers==0.38.0",
    "einops>=0.8,<1",
    "einops-exts>=0.0.4,<1",
    "numpy>=2,<3",
    "rotary-embedding-torch>=0.8,<1",
    "tqdm",
    "transformers>=5,<6",
)
# Alone: what they ask for (torchvision, kornia, accelerate, ...) is not needed by their U-Nets.
ALONE = (
    "imagen-pytorch==2.1.0",
    "make-a-video-pytorch==0.4.0",
    "video-diffusion-pytorch==0.7.0",
)


def peers_python(folder: Path, pip_args: list[str]) -> Path:
    """Make the peers' environment if it is not there, and return its interpreter."""
    python, stamp = folder / "bin" / "python", folder / ".installed"
    wanted = "\n".join((torch.__version__, *REQUIREMENTS, *ALONE))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"installing the peers into {folder}", file=sys.stderr)
    if not python.exists():
        venv.create(folder, with_pip=True)
    # The same release of torch; which build of it is the user's choice.
    same_torch = f"torch=={torch.__version__.split('+')[0]}"
    pip = [str(python), "-m", "pip", "install", "--quiet", *pip_args]
    subprocess.run([*pip, same_torch, *REQUIREMENTS], check=True)
    subprocess.run([*pip, "--no-deps", *ALONE], check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return python
