"""Inception v3 as FID uses it (Heusel et al. 2017): TensorFlow's network of December 2015.

Layers carry the names of its published PyTorch port (1008 outputs, no auxiliary head), so those
weights load once they are converted to safetensors. It differs from the usual Inception v3 in that
averages leave the padding out, and in that the last block pools by the largest value.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

FEATURES = 2048
"""Of the last pool: FID's features."""
OUTPUTS = 1008
"""Classes of that network; only its weights need them."""
EPS = 1e-3
"""Of the batch norm."""

Kernel = int | tuple[int, int]


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Kernel = 1, stride: int = 1, pad: Kernel = 0
    ) -> None:
        """Build the layers."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, pad, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers."""
        return self.bn(self.conv(x)).relu()


def _average(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _largest(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 3, stride=1, padding=1)


def _halved(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 3, stride=2)


class BlockA(nn.Module):
    """35x35: 1x1, 5x5, two 3x3, pool."""

    def __init__(self, inputs: int, pooled: int) -> None:
        """Build the branches."""
        super().__init__()
        self.branch1x1 = Unit(inputs, 64)
        self.branch5x5_1 = Unit(inputs, 48)
        self.branch5x5_2 = Unit(48, 64, 5, pad=2)
        self.branch3x3dbl_1 = Unit(inputs, 64)
        self.branch3x3dbl_2 = Unit(64, 96, 3, pad=1)
        self.branch3x3dbl_3 = Unit(96, 96, 3, pad=1)
        self.branch_pool = Unit(inputs, pooled)

    def forward(self, x: Tensor) -> Tensor:
        """Run the branches and join their channels."""
        doubled = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        five = self.branch5x5_2(self.branch5x5_1(x))
        return torch.cat([self.branch1x1(x), five, doubled, self.branch_pool(_average(x))], 1)


class BlockB(nn.Module):
    """35x35 to 17x17."""

    def __init__(self, inputs: int) -> None:
        """Build the branches."""
        super().__init__()
        self.branch3x3 = Unit(inputs, 384, 3, 2)
        self.branch3x3dbl_1 = Unit(inputs, 64)
        self.branch3x3dbl_2 = Unit(64, 96, 3, pad=1)
        self.branch3x3dbl_3 = Unit(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Run the branches and join their channels."""
        doubled = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), doubled, _halved(x)], 1)


class BlockC(nn.Module):
    """17x17: 1x1, 7x7 in two and in four strips, pool."""

    def __init__(self, inputs: int, width: int) -> None:
        """Build the branches."""
        super().__init__()
        wide: dict[str, Kernel] = {"kernel": (1, 7), "pad": (0, 3)}
        tall: dict[str, Kernel] = {"kernel": (7, 1), "pad": (3, 0)}
        self.branch1x1 = Unit(inputs, 192)
        self.branch7x7_1 = Unit(inputs, width)
        self.branch7x7_2 = Unit(width, width, **wide)  # pyright: ignore[reportArgumentType]
        self.branch7x7_3 = Unit(width, 192, **tall)  # pyright: ignore[reportArgumentType]
        self.branch7x7dbl_1 = Unit(inputs, width)
        self.branch7x7dbl_2 = Unit(width, width, **tall)  # pyright: ignore[reportArgumentType]
        self.branch7x7dbl_3 = Unit(width, width, **wide)  # pyright: ignore[reportArgumentType]
        self.branch7x7dbl_4 = Unit(width, width, **tall)  # pyright: ignore[reportArgumentType]
        self.branch7x7dbl_5 = Unit(width, 192, **wide)  # pyright: ignore[reportArgumentType]
        self.branch_pool = Unit(inputs, 192)

    def forward(self, x: Tensor) -> Tensor:
        """Run the branches and join their channels."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        doubled = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        doubled = self.branch7x7dbl_5(self.branch7x7dbl_4(doubled))
        return torch.cat([self.branch1x1(x), seven, doubled, self.branch_pool(_average(x))], 1)


class BlockD(nn.Module):
    """17x17 to 8x8."""

    def __init__(self, inputs: int) -> None:
        """Build the branches."""
        super().__init__()
        self.branch3x3_1 = Unit(inputs, 192)
        self.branch3x3_2 = Unit(192, 320, 3, 2)
        self.branch7x7x3_1 = Unit(inputs, 192)
        self.branch7x7x3_2 = Unit(192, 192, (1, 7), pad=(0, 3))
        self.branch7x7x3_3 = Unit(192, 192, (7, 1), pad=(3, 0))
        self.branch7x7x3_4 = Unit(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Run the branches and join their channels."""
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat(
            [self.branch3x3_2(self.branch3x3_1(x)), self.branch7x7x3_4(seven), _halved(x)], 1
        )


class BlockE(nn.Module):
    """8x8: 1x1, 3x3 and two 3x3 that fork, pool."""

    def __init__(self, inputs: int, *, largest: bool) -> None:
        """Build the branches.

        Args:
            inputs: channels.
            largest: pool by the largest value instead of the average.
        """
        super().__init__()
        self.largest = largest
        self.branch1x1 = Unit(inputs, 320)
        self.branch3x3_1 = Unit(inputs, 384)
        self.branch3x3_2a = Unit(384, 384, (1, 3), pad=(0, 1))
        self.branch3x3_2b = Unit(384, 384, (3, 1), pad=(1, 0))
        self.branch3x3dbl_1 = Unit(inputs, 448)
        self.branch3x3dbl_2 = Unit(448, 384, 3, pad=1)
        self.branch3x3dbl_3a = Unit(384, 384, (1, 3), pad=(0, 1))
        self.branch3x3dbl_3b = Unit(384, 384, (3, 1), pad=(1, 0))
        self.branch_pool = Unit(inputs, 192)

    def forward(self, x: Tensor) -> Tensor:
        """Run the branches and join their channels."""
        three, doubled = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = _largest(x) if self.largest else _average(x)
        branches = [
            self.branch1x1(x),
            self.branch3x3_2a(three),
            self.branch3x3_2b(three),
            self.branch3x3dbl_3a(doubled),
            self.branch3x3dbl_3b(doubled),
            self.branch_pool(pooled),
        ]
        return torch.cat(branches, 1)


class InceptionV3(nn.Module):
    """The network up to its last pool."""

    def __init__(self) -> None:
        """Build the layers, with random weights."""
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3, pad=1)
        self.Conv2d_3b_1x1 = Unit(64, 80)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        self.Mixed_5b = BlockA(192, 32)
        self.Mixed_5c = BlockA(256, 64)
        self.Mixed_5d = BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b = BlockC(768, 128)
        self.Mixed_6c = BlockC(768, 160)
        self.Mixed_6d = BlockC(768, 160)
        self.Mixed_6e = BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, largest=False)
        self.Mixed_7c = BlockE(2048, largest=True)
        self.fc = nn.Linear(FEATURES, OUTPUTS)

    def forward(self, pictures: Float[Tensor, "b 3 299 299"]) -> Float[Tensor, "b features"]:
        """Return the features.

        Args:
            pictures: values in [-1, 1].
        """
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(pictures)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(_halved(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(_halved(x))))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_7a(self.Mixed_6e(self.Mixed_6d(x)))
        return self.Mixed_7c(self.Mixed_7b(x)).mean((2, 3))
