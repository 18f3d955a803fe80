from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from imagen_video.distillation.rounds import Round
from imagen_video.distillation.watch import Best, RoundDiverged, RoundWatch, probe_targets
from unit.cascade.small_cascades import awake
from unit.distillation.small_distillations import SPEC, Stripes, generator, objective_of

ROUND = Round(kind="ddim", steps=2)


def watch_of(folder: Path, updates: int = 16, warmup: int = 4) -> RoundWatch:
    objective = objective_of("base", ROUND)
    probes = probe_targets(objective, [Stripes(first=100).batch(i) for i in range(2)], seed=0)
    return RoundWatch(objective, Stripes(), folder, probes=probes, updates=updates, warmup=warmup)


class Offset(nn.Module):
    """The teacher with an error added to all that it says."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.error = nn.Parameter(torch.zeros(()))

    def forward(self, *told: object) -> Tensor:
        return self.network(*told) + self.error


def student() -> Offset:
    return Offset(awake(SPEC.stage("base").unet))


def steps(watch: RoundWatch, network: Offset, errors: list[float], first: int = 0) -> None:
    for step, error in enumerate(errors, start=first):
        with torch.no_grad():
            network.error.fill_(error)
        watch(network, watch.batch(step), generator(step))


def test_the_lowest_loss_is_kept_with_its_weights(tmp_path: Path) -> None:
    watch = watch_of(tmp_path)
    network = student()
    steps(watch, network, [0.3, 0.2, 0.1, 0.0, 0.2, 0.3, 0.3])
    found = Best.read(tmp_path)
    assert found is not None
    # every second update is looked at
    assert found.step == 2
    assert found.start > found.loss
    assert [path.name for path in tmp_path.glob("best-*")] == ["best-00000002.safetensors"]
    from safetensors.torch import load_file

    assert load_file(found.path(tmp_path))["error"].item() == pytest.approx(0.1)
    lines = [json.loads(line) for line in (tmp_path / "probe.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 4, 6]


def test_a_round_that_stays_well_above_its_start_is_stopped_after_the_warm_up(
    tmp_path: Path,
) -> None:
    watch = watch_of(tmp_path)
    network = student()
    # probed at 0, 2 (warming up), 4 (the first time)
    steps(watch, network, [0.1, 0.1, 2.0, 2.0, 2.0, 2.0])
    with pytest.raises(RoundDiverged) as caught:
        steps(watch, network, [2.0], first=6)
    message = str(caught.value)
    best = Best.read(tmp_path)
    assert best is not None
    assert f"{best.start:.5f}" in message
    assert str(best.path(tmp_path)) in message
    assert "6 updates" in message
    assert "--learning-rate" in message
    assert best.path(tmp_path).is_file()


def test_one_jump_passes_but_not_at_the_end_of_a_round(tmp_path: Path) -> None:
    watch = watch_of(tmp_path)
    network = student()
    steps(watch, network, [0.1] * 4 + [2.0] * 2 + [0.1] * 2 + [2.0] * 2 + [0.1])
    with torch.no_grad():
        network.error.fill_(2.0)
    with pytest.raises(RoundDiverged, match="16 updates"):
        watch.look(network, 16, last=True)


def test_a_restart_between_two_jumps_changes_nothing(tmp_path: Path) -> None:
    network = student()
    steps(watch_of(tmp_path), network, [0.1] * 4 + [2.0])
    # the same probe again, from a checkpoint before it, is no second one
    again = watch_of(tmp_path)
    steps(again, network, [2.0] * 2, first=4)
    with pytest.raises(RoundDiverged, match="6 updates"):
        steps(watch_of(tmp_path), network, [2.0], first=6)


def test_a_loss_that_is_not_finite_stops_the_round_at_once(tmp_path: Path) -> None:
    watch = watch_of(tmp_path)
    network = student()
    steps(watch, network, [0.0])
    with pytest.raises(RoundDiverged, match="nan after 1 updates"):
        steps(watch, network, [math.nan], first=1)
    assert Best.read(tmp_path) is not None


def probed(folder: Path, losses: list[float], *, last: bool = False) -> RoundWatch:
    """A watch whose probes find these losses, one after every second update."""
    watch = watch_of(folder)
    for number, loss in enumerate(losses):
        watch.probe = lambda network, loss=loss: loss
        watch.look(student(), 2 * number, last=last and number == len(losses) - 1)
    return watch


def test_a_round_that_ends_above_its_start_is_stopped_and_keeps_the_best(tmp_path: Path) -> None:
    """Also well below twice the start, which may pass on the way."""
    with pytest.raises(RoundDiverged, match=r"0\.01100 after 16.*at most 1\.05 times.*0\.01000"):
        probed(tmp_path, [0.01] + [0.008] * 7 + [0.011], last=True)
    best = Best.read(tmp_path)
    assert best is not None
    assert (best.step, best.loss) == (2, 0.008)
    probed(tmp_path / "equal", [0.01] + [0.008] * 7 + [0.0104], last=True)
    probed(tmp_path / "on the way", [0.01] + [0.019] * 7 + [0.009], last=True)


def test_a_small_start_is_no_licence_to_rise_above_it(tmp_path: Path) -> None:
    with pytest.raises(RoundDiverged, match="6 updates"):
        probed(tmp_path, [1e-4, 1e-4, 3e-4, 3e-4])


def test_a_rise_that_nobody_sees_is_no_divergence(tmp_path: Path) -> None:
    """A teacher of very many steps leaves nothing to learn: Adam alone moves the loss."""
    watch = watch_of(tmp_path)
    network = student()
    watch.best = Best(step=0, loss=0.0, start=0.0)
    watch.probes = []
    watch.probe = lambda network: 5e-6
    steps(watch, network, [0.0] * 9)
    watch.look(network, 16, last=True)


def test_the_record_survives_a_restart(tmp_path: Path) -> None:
    first = watch_of(tmp_path)
    network = student()
    steps(first, network, [0.3, 0.0, 0.1])
    again = watch_of(tmp_path)
    assert again.best == first.best
    steps(again, network, [0.1], first=2)
    assert again.best == first.best
    (tmp_path / "best.json").write_text("{")
    assert watch_of(tmp_path).best is None


def test_probes_are_the_same_after_every_restart(tmp_path: Path) -> None:
    network = student()
    losses = [watch_of(tmp_path).probe(network) for _ in range(2)]
    assert losses[0] == losses[1] > 0


def test_a_batch_in_parts_is_probed_once(tmp_path: Path) -> None:
    watch = watch_of(tmp_path)
    network = student()
    batch = watch.batch(0)
    for part in (range(2), range(2, 4)):
        watch(network, batch.rows(part), generator())
    assert len((tmp_path / "probe.jsonl").read_text().splitlines()) == 1
