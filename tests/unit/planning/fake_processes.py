"""One process of a group whose others do not exist, and a split network's step without data."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from imagen_video.cascade.spec import CascadeSpec
from imagen_video.models.cost import LiveBytes
from imagen_video.planning.step import TrainedShape, fake_network, stage_loss
from imagen_video.training.sharding import local, shard


@contextlib.contextmanager
def one_of(ranks: int, rank: int = 0) -> Iterator[DeviceMesh]:
    """Be process `rank` of `ranks`; what the others would send is never waited for."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=ranks)
    try:
        yield init_device_mesh("cpu", (ranks,))
    finally:
        torch.distributed.destroy_process_group()


def sharded_step_bytes(
    cascade: CascadeSpec, stage: str, mesh: DeviceMesh, rows: int, tokens: int, **how: bool
) -> int:
    """Follow FSDP2 itself through a step: peak of all but the process's part of the weights."""
    spec, mode = cascade.stage(stage), FakeTensorMode()
    network = fake_network(spec, mode)
    network.gradient_checkpointing = how["checkpointing"]
    with mode:
        shard(network, mesh)
    follower = _ResizedToo(network)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=how["bf16"])
    shape = TrainedShape.of(spec, rows)
    with follower.resizing(), mode, follower, autocast:
        stage_loss(network, spec, cascade.input_of(stage), shape, tokens).backward()
    return follower.peak


class _ResizedToo(LiveBytes):
    """FSDP2 gives gathered weights back by resizing their storage to nothing."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        parts: list[Tensor] = [local(parameter.detach()) for parameter in network.parameters()]
        self._sizes = {part.untyped_storage()._cdata: 0 for part in parts}

    def _follow(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._sizes:
            self._sizes[storage._cdata] = 0
            self._set(storage._cdata, storage.nbytes())
            weakref.finalize(storage, self._set, storage._cdata, 0, gone=True)

    def _set(self, key: int, size: int, *, gone: bool = False) -> None:
        self.live += size - self._sizes[key]
        self.peak = max(self.peak, self.live)
        self._sizes[key] = size
        if gone:
            del self._sizes[key]

    @contextlib.contextmanager
    def resizing(self) -> Iterator[None]:
        original = torch.UntypedStorage.resize_

        def resize_(storage: torch.UntypedStorage, size: int) -> None:
            original(storage, size)
            if storage._cdata in self._sizes:
                self._set(storage._cdata, size)

        torch.UntypedStorage.resize_ = resize_  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield
        finally:
            torch.UntypedStorage.resize_ = original
