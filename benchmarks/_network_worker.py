"""One contender of networks.py in a process of its own, driven over its standard input.

    python _network_worker.py CONTENDER forward|train THREADS S|M|L FRAMESxHEIGHTxWIDTH

prints one JSON line when it is ready, one with the seconds for every line that it reads, and one
with its peak memory at the end. It runs in the peers' environment too, so it imports nothing of
this project unless the contender is ours.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
import time
import types
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import Any
from unittest import mock

import torch

TOKENS, TEXT_WIDTH = 32, 768

ANSWERS = sys.stdout

Shape = tuple[int, int, int]
"""Frames, height, width."""
Call = Callable[[], torch.Tensor]
Build = Callable[[str, Shape, str], tuple[torch.nn.Module, Call]]
"""(size, shape, device) -> network and a call of it."""

# About 5, 15 and 50 million parameters each: channels and blocks of the levels, finest first.
OURS = {
    "S": ((64, 128, 192), (1, 1, 2)),
    "M": ((64, 128, 320), (2, 2, 3)),
    "L": ((128, 256, 512), (2, 3, 4)),
}
LUCIDRAINS = {
    "S": {"dim": 32, "dim_mults": (1, 2, 4)},
    "M": {"dim": 64, "dim_mults": (1, 2, 4)},
    "L": {"dim": 64, "dim_mults": (1, 2, 4, 8)},
}
DIFFUSERS = {"S": (32, 64, 128), "M": (56, 112, 224), "L": (64, 128, 256, 320)}


def ours(patch_size: int) -> Build:
    """The layout of the `emoji` base with other widths and the text width of the peers."""

    def build(size: str, shape: Shape, device: str) -> tuple[torch.nn.Module, Call]:
        from imagen_video.models.conditions import Conditions
        from imagen_video.models.unet import VideoUNet
        from imagen_video.presets import preset

        unet = preset("emoji").stages[0].unet
        levels = tuple(
            dataclasses.replace(level, channels=width, num_blocks=blocks)
            for level, width, blocks in zip(unet.levels, *OURS[size], strict=True)
        )
        spec = dataclasses.replace(
            unet, levels=levels, patch_size=patch_size, text_width=TEXT_WIDTH, given_frames=False
        )
        frames, height, width = shape
        with torch.device(device):
            network = VideoUNet(spec)
            video = torch.randn(1, frames, 3, height, width)
            logsnr = torch.zeros(1)
            conditions = Conditions(
                text_states=torch.randn(1, TOKENS, TEXT_WIDTH),
                text_mask=torch.ones(1, TOKENS, dtype=torch.bool),
            )
        return network, lambda: network(video, logsnr, conditions)

    return build


def bare_package(name: str) -> None:
    """Put an empty package in the place of one whose __init__ wants more than its U-Net does."""
    spec = util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{name} is not installed here")
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules[name] = package


def imagen_pytorch(size: str, shape: Shape, device: str) -> tuple[torch.nn.Module, Call]:
    """Unet3D of imagen-pytorch, past what its package imports for training and the hub."""
    import transformers

    class Width:
        d_model = TEXT_WIDTH

    transformers.T5Config.from_pretrained = lambda *_args, **_kwargs: Width()  # pyright: ignore[reportAttributeAccessIssue]
    bare_package("imagen_pytorch")
    from imagen_pytorch.imagen_video import Unet3D  # pyright: ignore[reportMissingImports]

    with torch.device(device):
        network = Unet3D(**LUCIDRAINS[size])
        video = torch.randn(1, 3, *shape)
        times = torch.full((1,), 0.5)
        text = torch.randn(1, TOKENS, TEXT_WIDTH)
        mask = torch.ones(1, TOKENS, dtype=torch.bool)
    return network, lambda: network(video, times, text_embeds=text, text_mask=mask)


def video_diffusion(size: str, shape: Shape, device: str) -> tuple[torch.nn.Module, Call]:
    """Unet3D of video-diffusion-pytorch; it hears one text vector."""
    # Its picture files need torchvision, its U-Net does not.
    vision = types.ModuleType("torchvision")
    vision.transforms = vision.utils = mock.MagicMock()  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules["torchvision"] = vision
    bare_package("video_diffusion_pytorch")
    from video_diffusion_pytorch.video_diffusion_pytorch import (  # pyright: ignore[reportMissingImports]
        Unet3D,
    )

    with torch.device(device):
        network = Unet3D(cond_dim=TEXT_WIDTH, **LUCIDRAINS[size])
        video = torch.randn(1, 3, *shape)
        times = torch.zeros(1)
        text = torch.randn(1, TEXT_WIDTH)
    return network, lambda: network(video, times, cond=text)


def diffusers(size: str, shape: Shape, device: str) -> tuple[torch.nn.Module, Call]:
    """UNet3DConditionModel of diffusers."""
    from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel

    channels = DIFFUSERS[size]
    attended = len(channels) - 1
    with torch.device(device):
        network = UNet3DConditionModel(
            sample_size=shape[1:],  # pyright: ignore[reportArgumentType]
            in_channels=3,
            out_channels=3,
            down_block_types=("CrossAttnDownBlock3D",) * attended + ("DownBlock3D",),
            up_block_types=("UpBlock3D",) + ("CrossAttnUpBlock3D",) * attended,
            block_out_channels=channels,
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=8,
        )
        video = torch.randn(1, 3, *shape)
        times = torch.zeros(1, dtype=torch.long)
        text = torch.randn(1, TOKENS, TEXT_WIDTH)
    return network, lambda: network(video, times, encoder_hidden_states=text).sample


def make_a_video(size: str, shape: Shape, device: str) -> tuple[torch.nn.Module, Call]:
    """SpaceTimeUnet of make-a-video-pytorch, of which there is a size M alone; it hears no text."""
    if size != "M":
        raise SystemExit("make-a-video-pytorch is compared in size M only")
    bare_package("make_a_video_pytorch")
    from make_a_video_pytorch.make_a_video import (  # pyright: ignore[reportMissingImports]
        SpaceTimeUnet,
    )

    with torch.device(device):
        network = SpaceTimeUnet(
            dim=64,
            channels=3,
            dim_mult=(1, 2, 4),
            resnet_block_depths=(1, 1, 1),
            temporal_compression=(False, False, False),
            self_attns=(False, False, True),
            condition_on_timestep=True,
            attn_pos_bias=False,
            flash_attn=True,
        )
        video = torch.randn(1, 3, *shape)
        times = torch.full((1,), 0.5)
    return network, lambda: network(video, timestep=times)


CONTENDERS: dict[str, tuple[Build, tuple[str, ...]]] = {
    "imagen-video": (ours(2), ("imagen-video",)),
    "imagen-video, patch 1": (ours(1), ("imagen-video",)),
    "imagen-pytorch": (imagen_pytorch, ("imagen-pytorch", "transformers")),
    "video-diffusion-pytorch": (video_diffusion, ("video-diffusion-pytorch",)),
    "diffusers": (diffusers, ("diffusers",)),
    "make-a-video-pytorch": (make_a_video, ("make-a-video-pytorch",)),
}


def version(name: str) -> str:
    """Return a version; ours also where the package is run from its sources."""
    if name == "imagen-video":
        from imagen_video import __version__

        return __version__
    return metadata.version(name)


def gigaflops(call: Call) -> float:
    """Count the floating-point operations of a call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops() / 1e9


def gigaflops_on_meta(build: Build, size: str, shape: Shape) -> float | None:
    """Count on the meta device, where fused attention cannot hide; None where it does not run."""
    try:
        return gigaflops(build(size, shape, "meta")[1])
    except Exception as error:  # a peer may read values inside
        print(f"no FLOP count on the meta device: {error}", file=sys.stderr)
        return None


def peak_bytes() -> int:
    """Return the peak resident memory of this process, without what its parent had at the fork."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Build the contender and time a call for every line that comes in."""
    name, mode, threads, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    frames, height, width = map(int, sys.argv[5].split("x"))
    shape = (frames, height, width)
    # Peers print advice while they are built: it must not get between the answers.
    sys.stdout = sys.stderr
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    build, packages = CONTENDERS[name]
    work = gigaflops_on_meta(build, size, shape)  # loads all libraries, too
    before = peak_bytes()
    network, call = build(size, shape, "cpu")
    step = forward(network, call) if mode == "forward" else train(network, call)
    step()  # the first call prepares kernels and the optimizer's state
    say(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        versions={name: version(name) for name in ("torch", *packages)},
    )
    for _ in sys.stdin:
        started = time.perf_counter()
        step()
        say(seconds=time.perf_counter() - started)
    say(peak_bytes=peak_bytes(), before_bytes=before, gigaflops=work or gigaflops(call))


def forward(network: torch.nn.Module, call: Call) -> Callable[[], None]:
    """Inference."""
    network.eval()

    def step() -> None:
        with torch.no_grad():
            call()

    return step


def train(network: torch.nn.Module, call: Call) -> Callable[[], None]:
    """Forward, backward and AdamW."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        call().square().mean().backward()
        optimizer.step()

    return step


def say(**values: Any) -> None:
    """Answer with one line of JSON."""
    print(json.dumps(values), file=ANSWERS, flush=True)


if __name__ == "__main__":
    main()
