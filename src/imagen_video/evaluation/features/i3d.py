"""I3D (Carreira and Zisserman 2017), the network of FVD: Inception-v1 inflated to three dimensions.

Layers carry the names of the published PyTorch port, so its Kinetics-400 weights load once they are
converted to safetensors. Convolutions and pools pad as TensorFlow's "SAME" does: what is missing
for whole strides, the odd pixel at the end.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 400
"""Kinetics-400: the logits are FVD's features."""
EPS = 1e-3
"""Of the batch norm."""

# name -> channels of: 1x1 | 1x1 then 3x3x3 | 1x1 then 3x3x3 | pool then 1x1
MIXED: dict[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}

Sizes = tuple[int, int, int]


def pad_same(x: Tensor, kernel: Sizes, stride: Sizes) -> Tensor:
    """Pad with zeros so that a window gives ceil(size / stride) outputs.

    Args:
        x: `(b, c, t, h, w)`.
        kernel: of the window, time first.
        stride: of the window.
    """
    padding: list[int] = []
    for size, width, step in zip(x.shape[2:], kernel, stride, strict=True):
        missing = max(0, (-(-size // step) - 1) * step + width - size)
        padding = [missing // 2, missing - missing // 2, *padding]  # torch counts from the last
    return functional.pad(x, padding)


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Sizes = (1, 1, 1), stride: Sizes = (1, 1, 1)
    ) -> None:
        """Build the layers."""
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers."""
        return self.bn(self.conv3d(pad_same(x, self.kernel, self.stride))).relu()


class Pool(nn.Module):
    """Largest value of a window; the padding's zeros never win over what a ReLU left."""

    def __init__(self, kernel: Sizes, stride: Sizes) -> None:
        """Take the sizes."""
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        return functional.max_pool3d(
            pad_same(x, self.kernel, self.stride), self.kernel, self.stride
        )


class Mixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        """Build the branches."""
        super().__init__()
        cube = (3, 3, 3)
        self.b0 = Unit(inputs, widths[0])
        self.b1a = Unit(inputs, widths[1])
        self.b1b = Unit(widths[1], widths[2], cube)
        self.b2a = Unit(inputs, widths[3])
        self.b2b = Unit(widths[3], widths[4], cube)
        self.b3a = Pool(cube, (1, 1, 1))
        self.b3b = Unit(inputs, widths[5])

    def forward(self, x: Tensor) -> Tensor:
        """Run the branches and join their channels."""
        branches = (
            self.b0(x),
            self.b1b(self.b1a(x)),
            self.b2b(self.b2a(x)),
            self.b3b(self.b3a(x)),
        )
        return torch.cat(branches, dim=1)


class I3D(nn.Module):
    """The network for RGB."""

    def __init__(self) -> None:
        """Build the layers, with random weights."""
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, (7, 7, 7), (2, 2, 2))
        self.Conv3d_2b_1x1 = Unit(64, 64)
        self.Conv3d_2c_3x3 = Unit(64, 192, (3, 3, 3))
        width = 192
        for name, widths in MIXED.items():
            self.add_module(name, Mixed(width, widths))
            width = widths[0] + widths[2] + widths[4] + widths[5]
        logits = nn.Module()
        logits.conv3d = nn.Conv3d(width, CLASSES, 1)
        self.logits = logits
        self.across = Pool((1, 3, 3), (1, 2, 2))
        self.pools = {
            "Mixed_3b": self.across,
            "Mixed_4b": Pool((3, 3, 3), (2, 2, 2)),
            "Mixed_5b": Pool((2, 2, 2), (2, 2, 2)),
        }

    def forward(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b classes"]:
        """Return the logits, averaged over time.

        Args:
            video: values in [-1, 1], 224x224, at least 9 frames.
        """
        x = self.across(self.Conv3d_1a_7x7(video))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        for name in MIXED:
            if name in self.pools:
                x = self.pools[name](x)
            x = self.get_submodule(name)(x)
        x = functional.avg_pool3d(x, (2, 7, 7), stride=1)
        return self.logits.conv3d(x).mean((2, 3, 4))  # pyright: ignore[reportCallIssue]
