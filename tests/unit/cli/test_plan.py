from __future__ import annotations

import json

import pytest

from imagen_video.cli.plan import run
from imagen_video.errors import InputError

TINY = ["--preset", "tiny", "--stage", "base", "--precision", "fp32"]


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert run([*TINY, *words]) == code
    return capsys.readouterr().out


def test_the_plan_shows_every_way_and_the_command_of_the_fastest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = printed(capsys, "--gpus", "2", "--gpu-memory", "8GB")
    for way in ("fp32 ddp keep", "fp32 fsdp keep", "fp32 ddp recompute", "fp32 fsdp recompute"):
        assert way in said
    assert "the fastest that fits: ddp, no checkpointing, fp32" in said
    assert said.splitlines()[-1].startswith("torchrun --standalone --nproc-per-node=2 -m")
    assert "--data SHARDS" in said


def test_the_plan_as_json_holds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    plan = json.loads(printed(capsys, "--json", "--batch", "3", "--checkpointing"))
    (option,) = plan["options"]
    assert (option["sharding"], option["checkpointing"]) == ("none", True)
    assert (option["clips_per_gpu"], option["accumulate"], option["fits"]) == (3, 1, True)
    memory = option["memory"]
    assert memory["optimizer"] > memory["parameters"] == 4 * plan["parameters"]
    assert memory["peak"] >= memory["activations"] + memory["parameters"]
    assert plan["chosen"] == 0
    assert "--clips 3 " in plan["command"]


def test_what_is_too_large_says_so_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, "--gpu-memory", "1GB", "--no-checkpointing", code=1)
    assert "nothing fits in 1.0G: the least, none, no checkpointing, fp32, takes 2." in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpu-memory", "lots"], "--gpu-memory: got 'lots'"),
        (["--gpu-memory", "none"], "--gpu-memory: got none"),
        (["--gpus", "12"], "--gpus-per-node"),
        (["--checkpointing", "--no-checkpointing"], "leave one out"),
        (["--gpus", "2", "--sharding", "none"], "--sharding"),
    ],
)
def test_contradictions_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        run([*TINY, *words])
