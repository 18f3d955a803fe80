"""One contender of networks.py in a process of its own, driven over its standard input.

    python _network_worker.py CONTENDER forward|train

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

import torch

FRAMES, HEIGHT, WIDTH = 16, 24, 40
TOKENS, TEXT_WIDTH = 32, 768

ANSWERS = sys.stdout

Call = Callable[[], torch.Tensor]
Build = Callable[[str], tuple[torch.nn.Module, Call]]


def ours(patch_size: int) -> Build:
    """The shipped emoji base with another patch and the text width of the peers."""

    def build(device: str) -> tuple[torch.nn.Module, Call]:
        from imagen_video.models.conditions import Conditions
        from imagen_video.models.unet import VideoUNet
        from imagen_video.presets import preset

        spec = dataclasses.replace(
            preset("emoji").stages[0].unet,
            patch_size=patch_size,
            text_width=TEXT_WIDTH,
            given_frames=False,
        )
        with torch.device(device):
            network = VideoUNet(spec)
            video = torch.randn(1, FRAMES, 3, HEIGHT, WIDTH)
            logsnr = torch.zeros(1)
            conditions = Conditions(
                text_states=torch.randn(1, TOKENS, TEXT_WIDTH),
                text_mask=torch.ones(1, TOKENS, dtype=torch.bool),
            )
        return network, lambda: network(video, logsnr, conditions)

    return build


def imagen_pytorch(device: str) -> tuple[torch.nn.Module, Call]:
    """Unet3D of imagen-pytorch, past what its package imports for training and the hub."""
    import transformers

    class Width:
        d_model = TEXT_WIDTH

    transformers.T5Config.from_pretrained = lambda *_args, **_kwargs: Width()  # pyright: ignore[reportAttributeAccessIssue]
    spec = util.find_spec("imagen_pytorch")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("imagen-pytorch is not installed here")
    # An empty package object in its place: its __init__ wants torchvision, kornia, datasets, ...
    package = types.ModuleType("imagen_pytorch")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules["imagen_pytorch"] = package
    from imagen_pytorch.imagen_video import Unet3D  # pyright: ignore[reportMissingImports]

    with torch.device(device):
        network = Unet3D(dim=64, dim_mults=(1, 2, 4))
        video = torch.randn(1, 3, FRAMES, HEIGHT, WIDTH)
        times = torch.full((1,), 0.5)
        text = torch.randn(1, TOKENS, TEXT_WIDTH)
        mask = torch.ones(1, TOKENS, dtype=torch.bool)
    return network, lambda: network(video, times, text_embeds=text, text_mask=mask)


def diffusers(device: str) -> tuple[torch.nn.Module, Call]:
    """UNet3DConditionModel of diffusers."""
    from diffusers import UNet3DConditionModel  # pyright: ignore[reportMissingImports]

    with torch.device(device):
        network = UNet3DConditionModel(
            sample_size=(HEIGHT, WIDTH),
            in_channels=3,
            out_channels=3,
            down_block_types=("CrossAttnDownBlock3D",) * 2 + ("DownBlock3D",),
            up_block_types=("UpBlock3D",) + ("CrossAttnUpBlock3D",) * 2,
            block_out_channels=(56, 112, 224),
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=8,
        )
        video = torch.randn(1, 3, FRAMES, HEIGHT, WIDTH)
        times = torch.zeros(1, dtype=torch.long)
        text = torch.randn(1, TOKENS, TEXT_WIDTH)
    return network, lambda: network(video, times, encoder_hidden_states=text).sample


CONTENDERS: dict[str, tuple[Build, tuple[str, ...]]] = {
    "imagen-video, patch 2": (ours(2), ("imagen-video",)),
    "imagen-video, shipped": (ours(1), ("imagen-video",)),
    "imagen-pytorch": (imagen_pytorch, ("imagen-pytorch", "transformers")),
    "diffusers": (diffusers, ("diffusers",)),
}


def version(name: str) -> str:
    """Return a version; ours also where the package is run from its sources."""
    if name == "imagen-video":
        from imagen_video import __version__

        return __version__
    return metadata.version(name)


def gigaflops(build: Build) -> float | None:
    """Count a forward pass on the meta device, where fused attention cannot hide."""
    from torch.utils.flop_counter import FlopCounterMode

    try:
        _, call = build("meta")
        with FlopCounterMode(display=False) as counter:
            call()
    except Exception as error:  # a peer that makes plain tensors inside cannot run on meta
        print(f"no FLOP count: {error}", file=sys.stderr)
        return None
    return counter.get_total_flops() / 1e9


def peak_bytes() -> int:
    """Return the peak resident memory of this process, without what its parent had at the fork."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Build the contender and time a call for every line that comes in."""
    name, mode, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # Peers print advice while they are built: it must not get between the answers.
    sys.stdout = sys.stderr
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    build, packages = CONTENDERS[name]
    network, call = build("cpu")
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
    say(peak_bytes=peak_bytes(), gigaflops=gigaflops(build))


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
