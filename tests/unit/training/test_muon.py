"""Muon: what it does to a matrix, and to what is not one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from imagen_video.training import muon as module
from imagen_video.training.muon import MOMENTUM, Muon, is_matrix, orthogonal
from imagen_video.training.processes import Processes

SIZE = 64


@pytest.mark.parametrize("shape", [(64, 160), (48, 320), (320, 48)])
def test_all_directions_of_an_update_are_about_equally_long(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    lengths = torch.linalg.svdvals(orthogonal(matrix).double())
    assert lengths.min() > 0.5
    assert lengths.max() < 1.3
    assert torch.linalg.svdvals(matrix.double()).max() > 10  # the matrix itself was not so


def test_an_update_keeps_the_singular_vectors() -> None:
    generator = torch.Generator().manual_seed(1)
    left = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=generator))[0]
    matrix = left @ torch.diag(torch.linspace(1, 3, SIZE)) @ right
    turned = left.T @ orthogonal(matrix) @ right.T
    off = turned - torch.diag(turned.diagonal())
    assert turned.diagonal().min() > 0.5
    assert off.abs().max() < 0.05  # bfloat16


def test_a_zero_gradient_gives_a_zero_update() -> None:
    assert orthogonal(torch.zeros(48, 48)).abs().max() == 0


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, SIZE, 3), nn.Conv2d(SIZE, SIZE, 3), nn.Linear(SIZE, SIZE))


def gradients(net: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_only_hidden_matrices_are_turned() -> None:
    names = [name for name, parameter in network().named_parameters() if is_matrix(parameter)]
    assert names == ["1.weight", "2.weight"]


def test_what_is_no_matrix_gets_adamw() -> None:
    net, twin = network(), network()
    muon = Muon(net, lr=0.01, weight_decay=0.1)
    adamw = torch.optim.AdamW(
        twin.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.1, fused=True
    )
    for seed in range(3):
        gradients(net, seed)
        gradients(twin, seed)
        muon.step()
        adamw.step()
    for name, parameter in net.named_parameters():
        equal = torch.equal(parameter, dict(twin.named_parameters())[name])
        assert equal != is_matrix(parameter), name


def test_a_matrix_follows_the_formula() -> None:
    net = network()
    muon = Muon(net, lr=0.01, weight_decay=0.1)
    weight = net.get_parameter("2.weight")
    expected, momentum = weight.detach().clone(), torch.zeros(SIZE, SIZE)
    for seed in range(2):
        gradients(net, seed)
        assert weight.grad is not None
        momentum = momentum.lerp(weight.grad, 1 - MOMENTUM)
        update = weight.grad.lerp(momentum, MOMENTUM)  # Nesterov
        expected = (1 - 0.001) * expected - 0.01 * 0.2 * math.sqrt(SIZE) * orthogonal(update)
        muon.step()
    torch.testing.assert_close(weight, expected)


def test_an_update_is_about_as_large_as_adamws() -> None:
    update = orthogonal(torch.randn(96, 288, generator=torch.Generator().manual_seed(2)))
    size = (0.2 * math.sqrt(288) * update).square().mean().sqrt()
    assert 0.15 < size < 0.25


def test_each_of_three_processes_turns_a_third(monkeypatch: pytest.MonkeyPatch) -> None:
    """All get all of it: what one has turned, the others receive."""
    turned: list[tuple[int, ...]] = []
    torch.manual_seed(0)
    layers = [nn.Linear(SIZE + 8 * (i % 3), SIZE + 8 * i, bias=False) for i in range(7)]

    def noted(matrix: torch.Tensor) -> torch.Tensor:
        turned.append(tuple(matrix.shape))
        return orthogonal(matrix)

    monkeypatch.setattr(module, "orthogonal", noted)
    received: list[tuple[int, tuple[int, ...]]] = []
    monkeypatch.setattr(
        Processes, "send_from", lambda _, owner, tensor: received.append((owner, tensor.shape))
    )
    for rank in range(3):
        net = nn.Sequential(*layers)
        gradients(net, seed=rank)
        muon = Muon(net, lr=0.01, processes=Processes(rank=rank, ranks=3))
        received.clear()
        muon.step()
        assert len(received) == 7  # every process takes part in every exchange, in one order
        assert [owner for owner, _ in received] == [0, 1, 2, 0, 1, 2, 0]
        assert set(muon.state) == set(net.parameters())  # momentum of all, for the checkpoint
    assert sorted(turned) == sorted(tuple(layer.weight.shape) for layer in layers)


def test_a_matrix_is_turned_when_all_of_its_group_are_gathered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gathering needs every process: one that turned first would keep the others waiting."""
    done: list[str] = []
    whole = module.whole
    monkeypatch.setattr(module, "whole", lambda tensor: done.append("gathered") or whole(tensor))
    monkeypatch.setattr(
        module, "orthogonal", lambda matrix: done.append("turned") or orthogonal(matrix)
    )
    monkeypatch.setattr(Processes, "send_from", lambda *_: done.append("sent"))
    for rank in range(3):
        torch.manual_seed(0)
        net = nn.Sequential(*(nn.Linear(SIZE, SIZE, bias=False) for _ in range(5)))
        gradients(net, seed=rank)
        done.clear()
        Muon(net, lr=0.01, processes=Processes(rank=rank, ranks=3)).step()
        first = ["gathered"] * 3 + ["turned"] + ["sent"] * 3
        last = ["gathered"] * 2 + ["turned"] * (rank < 2) + ["sent"] * 2
        assert done == first + last
