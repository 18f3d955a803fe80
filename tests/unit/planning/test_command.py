from __future__ import annotations

import shlex

import tyro

from imagen_video.cli.train import TrainOptions
from imagen_video.planning.choose import Option, Wish
from imagen_video.planning.command import launch_command, train_words
from imagen_video.planning.memory import Choice, predict
from imagen_video.presets.tiny import tiny

CASCADE = tiny()


def wish_and_option(gpus: int, choice: Choice) -> tuple[Wish, Option]:
    memory = predict(CASCADE, "base", choice, ranks=gpus, rows=2, on_gpu=False)
    wish = Wish(cascade=CASCADE, stage="base", gpus=gpus, gpu_memory=1 << 33, batch=4 * gpus)
    return wish, Option(
        choice=choice, rows=2, accumulate=2, most_rows=3, memory=memory, fits=True, sheets=gpus > 1
    )


def parsed(command: str) -> tuple[list[str], TrainOptions]:
    words = shlex.split(command)
    split = words.index("train")
    return words[:split], tyro.cli(TrainOptions, args=words[split + 1 :])


def test_the_command_is_one_that_train_takes_and_says_the_same() -> None:
    choice = Choice(sharding="fsdp", checkpointing=True, precision="bf16", optimizer="adafactor")
    wish, option = wish_and_option(64, choice)
    words = train_words(wish, option, preset="my.py:cascade", data="clips data")
    launcher, options = parsed(launch_command(wish, words))
    assert launcher[:3] == ["torchrun", "--nnodes=8", "--nproc-per-node=8"]
    assert (options.preset, options.stage, str(options.data)) == (
        "my.py:cascade",
        "base",
        "clips data",
    )
    config = options.config
    assert (config.clips, config.accumulate) == (256, 2)
    assert config.images == 2 * 4 * 2 * 64  # frames of two clips, twice, on every GPU
    assert (config.parallel, config.precision, config.optimizer) == ("fsdp", "bf16", "adafactor")
    assert config.gradient_checkpointing
    assert config.sample_minutes > 0


def test_one_machine_needs_no_meeting_point() -> None:
    choice = Choice(sharding="ddp", checkpointing=False, precision="fp32")
    wish, option = wish_and_option(4, choice)
    command = launch_command(wish, train_words(wish, option, preset="tiny", data=None))
    launcher, options = parsed(command)
    assert launcher == ["torchrun", "--standalone", "--nproc-per-node=4", "-m", "imagen_video"]
    assert options.config.parallel == "ddp"
    assert not options.config.gradient_checkpointing


def test_one_gpu_needs_no_launcher() -> None:
    choice = Choice(sharding="none", checkpointing=False, precision="fp32")
    wish, option = wish_and_option(1, choice)
    command = launch_command(wish, train_words(wish, option, preset="tiny", data=None))
    assert command.startswith("imagen-video train --preset tiny")
    assert command.endswith("--sample-minutes 0")
