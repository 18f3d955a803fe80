"""One contender of quality_per_minute.py: trains for some seconds whenever it is asked to.

    python _quality_worker.py NETWORK DATA.safetensors SETTINGS.json

Lines on standard input are `train SECONDS` or `evaluate`; every answer is a line of JSON. It runs
in the peers' environment too, so the loss is written out here: v-prediction with the cosine
schedule, the same for all. Only the network differs.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from _network_worker import ANSWERS, LUCIDRAINS, OURS, bare_package, peak_bytes
from safetensors.torch import load_file
from torch import Tensor, nn

Predict = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(z `(b, f, c, h, w)`, log SNR `(b,)`, text, mask) -> v."""
LEVELS = 8
BOUND = 20.0
"""Of the log SNR."""
DROPPED = 0.1
"""Share of the captions that training leaves out."""


def ours(size: str, width: int) -> tuple[nn.Module, Predict]:
    """The layout of the `emoji` base."""
    from imagen_video.models.conditions import Conditions
    from imagen_video.models.unet import VideoUNet
    from imagen_video.presets import preset

    unet = preset("emoji").stages[0].unet
    levels = tuple(
        dataclasses.replace(level, channels=channels, num_blocks=blocks)
        for level, channels, blocks in zip(unet.levels, *OURS[size], strict=True)
    )
    spec = dataclasses.replace(unet, levels=levels, text_width=width, given_frames=False)
    network = VideoUNet(spec)

    def predict(z: Tensor, logsnr: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        return network(z, logsnr, Conditions(text_states=text, text_mask=mask))

    return network, predict


def imagen_pytorch(size: str, width: int) -> tuple[nn.Module, Predict]:
    """Unet3D of imagen-pytorch, which reads the log SNR as its time."""
    import transformers

    class Width:
        d_model = width

    transformers.T5Config.from_pretrained = lambda *_args, **_kwargs: Width()  # pyright: ignore[reportAttributeAccessIssue]
    bare_package("imagen_pytorch")
    from imagen_pytorch.imagen_video import Unet3D  # pyright: ignore[reportMissingImports]

    network = Unet3D(text_embed_dim=width, **LUCIDRAINS[size])

    def predict(z: Tensor, logsnr: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        v = network(z.movedim(2, 1), logsnr, text_embeds=text, text_mask=mask, cond_drop_prob=0.0)
        return v.movedim(1, 2)

    return network, predict


NETWORKS = {"imagen-video": ours, "imagen-pytorch": imagen_pytorch}


def logsnr_of(t: Tensor) -> Tensor:
    """The cosine schedule."""
    return (-2 * torch.log(torch.tan(torch.pi * t.double() / 2))).clamp(-BOUND, BOUND).float()


class Run:
    """A network in training."""

    def __init__(self, name: str, data: dict[str, Tensor], settings: dict[str, Any]) -> None:
        """Build it and its optimiser."""
        torch.manual_seed(settings["seed"])
        self.data, self.clips = data, settings["clips"]
        width = data["train_text"].shape[-1]
        self.network, self.predict = NETWORKS[name](settings["size"], width)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings["learning_rate"], weight_decay=0.0
        )
        self.generator = torch.Generator().manual_seed(settings["seed"])
        self.warmup, self.rate = settings["warmup"], settings["learning_rate"]
        self.updates, self.seconds = 0, 0.0

    def train(self, seconds: float) -> None:
        """Take updates until the time is over."""
        self.network.train()
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            rows = torch.randint(
                len(self.data["train_video"]), (self.clips,), generator=self.generator
            )
            t = (
                torch.rand((), generator=self.generator) + torch.arange(self.clips) / self.clips
            ) % 1
            kept = torch.rand(self.clips, generator=self.generator) >= DROPPED
            loss = self.errors("train", rows, t, self.generator, kept).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * min(1.0, (self.updates + 1) / self.warmup)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.updates += 1
        self.seconds += time.perf_counter() - began

    @torch.no_grad()
    def evaluate(self) -> list[float]:
        """Return the v-error of the held-out clips at eight noise levels, with fixed noise."""
        self.network.eval()
        count = len(self.data["held_out_video"])
        losses = []
        for level in range(LEVELS):
            generator = torch.Generator().manual_seed(level)
            t = torch.full((self.clips,), (level + 0.5) / LEVELS)
            parts = []
            for start in range(0, count - self.clips + 1, self.clips):
                rows = torch.arange(start, start + self.clips)
                kept = torch.ones(self.clips, dtype=torch.bool)
                parts.append(self.errors("held_out", rows, t, generator, kept))
            losses.append(float(torch.cat(parts).mean()))
        return losses

    def errors(
        self, split: str, rows: Tensor, t: Tensor, generator: torch.Generator, kept: Tensor
    ) -> Tensor:
        """v-error of every clip."""
        x = self.data[f"{split}_video"][rows].float() / 127.5 - 1
        text = self.data[f"{split}_text"][rows].float()
        mask = self.data[f"{split}_mask"][rows].bool() & kept[:, None]
        eps = torch.randn(x.shape, generator=generator)
        logsnr = logsnr_of(t)
        alpha, sigma = (
            torch.sigmoid(sign * logsnr).sqrt()[:, None, None, None, None] for sign in (1, -1)
        )
        v = self.predict(alpha * x + sigma * eps, logsnr, text, mask)
        return (v - (alpha * eps - sigma * x)).square().mean((1, 2, 3, 4))


def main() -> None:
    """Answer line after line."""
    sys.stdout = sys.stderr  # peers print advice while they are built
    name, data, settings = sys.argv[1], load_file(sys.argv[2]), json.loads(sys.argv[3])
    torch.set_num_threads(settings["threads"])
    run = Run(name, data, settings)
    say(parameters=sum(p.numel() for p in run.network.parameters()))
    for line in sys.stdin:
        words = line.split()
        if words[0] == "train":
            run.train(float(words[1]))
            say(seconds=run.seconds, updates=run.updates)
        else:
            say(losses=run.evaluate(), peak_bytes=peak_bytes())


def say(**values: Any) -> None:
    """Answer with one line of JSON."""
    print(json.dumps(values), file=ANSWERS, flush=True)


if __name__ == "__main__":
    main()
