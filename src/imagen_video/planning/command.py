"""The command that starts a planned training run: `torchrun`, or nothing for one process."""

from __future__ import annotations

import shlex

from imagen_video.planning.choose import Option, Wish, clips_for, images_for

DEFAULT_GPUS_PER_NODE = 8
PORT = 29500


def train_words(wish: Wish, option: Option, *, preset: str, data: str | None) -> list[str]:
    """Return the words after `imagen-video train`.

    Args:
        wish: what was asked for.
        option: what was chosen.
        preset: the cascade as the user names it.
        data: shards to train on; None for the demo corpus.
    """
    choice = option.choice
    name = wish.cascade.name
    words = ["--preset", preset, "--stage", wish.stage, "--run-dir", f"runs/{name}/{wish.stage}"]
    words += ["--data", data] if data is not None else []
    words += ["--clips", str(clips_for(wish, option)), "--images", str(images_for(wish, option))]
    words += ["--precision", choice.precision]
    words += ["--parallel", choice.sharding] if choice.sharding != "none" else []
    words += ["--gradient-checkpointing"] if choice.checkpointing else []
    words += ["--accumulate", str(option.accumulate)] if option.accumulate > 1 else []
    words += ["--optimizer", choice.optimizer] if choice.optimizer != "adamw" else []
    words += ["--sample-minutes", "0"] if not option.sheets else []
    return words


def launch_command(
    wish: Wish,
    words: list[str],
    gpus_per_node: int = DEFAULT_GPUS_PER_NODE,
) -> str:
    """Return the shell command; on several nodes it is given on each.

    Args:
        wish: what was asked for.
        words: the words after `train`.
        gpus_per_node: GPUs of a machine; of fewer in all, one machine holds them.
    """
    if wish.gpus == 1:
        return shlex.join(["imagen-video", "train", *words])
    launcher = ["torchrun"]
    if wish.gpus <= gpus_per_node:
        launcher += ["--standalone", f"--nproc-per-node={wish.gpus}"]
    else:
        launcher += [f"--nnodes={wish.gpus // gpus_per_node}", f"--nproc-per-node={gpus_per_node}"]
        launcher += ["--rdzv-backend=c10d", f"--rdzv-endpoint=FIRST_NODE:{PORT}"]
    return shlex.join([*launcher, "-m", "imagen_video", "train", *words])
