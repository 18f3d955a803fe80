"""A network split over processes (FSDP2) or copied to each (DDP). Networks know nothing of it.

FSDP2's unit is the block: its weights are gathered before it runs and given back after it, so a
process holds its share of everything and one block. Weights are gathered in fp32 and computed with
under autocast, as in one process, so the numbers are the same.
"""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from imagen_video.models.blocks import SpaceTimeBlock, TemporalConvolution
from imagen_video.training.config import TrainConfig
from imagen_video.training.processes import Processes

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor


def settle(network: nn.Module, processes: Processes) -> None:
    """Bring a network to its device, split over the processes or whole; in place."""
    if processes.sharded:
        shard(network, mesh_of(processes))
    else:
        network.to(processes.device)


def callable_of(network: nn.Module, config: TrainConfig, processes: Processes) -> nn.Module:
    """Return what a training step calls: the settled network, or one that sums gradients."""
    if config.compile:
        # the gathering of weights around a block cannot be compiled; the block can
        for module in units(network) if processes.sharded else [network]:
            module.compile(dynamic=False)  # few shapes occur: clips, images, text in steps of 16
    if processes.ranks == 1 or processes.sharded:
        return network
    # batches of images leave temporal convolutions out, on every process alike
    leaves_out = any(isinstance(module, TemporalConvolution) for module in network.modules())
    return nn.parallel.DistributedDataParallel(network, find_unused_parameters=leaves_out)


def equalise(network: nn.Module, processes: Processes) -> None:
    """Give every process the main one's weights, tensor by tensor, before they are split."""
    if processes.ranks == 1:
        return
    with torch.no_grad():
        for parameter in network.parameters():
            data = parameter.detach().to(processes.device).contiguous()
            torch.distributed.broadcast(data, src=0)
            parameter.copy_(data)


def units(network: nn.Module) -> list[nn.Module]:
    """Return the modules whose weights are gathered together: the blocks."""
    return [module for module in network.modules() if isinstance(module, SpaceTimeBlock)]


def shard(network: nn.Module, mesh: DeviceMesh) -> None:
    """Split every parameter over the processes of a mesh, in place; the meta device works too."""
    from torch.distributed.fsdp import fully_shard

    # torch warns of in-place operations on our output; nobody does any
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.data = parameter.data.contiguous()  # FSDP2 takes no channels-last weights
    for module in (*units(network), network):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)


def mesh_of(processes: Processes) -> DeviceMesh:
    """Return all processes in a row."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(processes.device.type, (processes.ranks,))


def empty_copy(network: nn.Module) -> nn.Module:
    """Copy a network without its weights, on the meta device: for a copy that is split next."""
    memo = {
        id(parameter): nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
        for parameter in network.parameters()
    }
    return copy.deepcopy(network, memo)


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only a part of a tensor."""
    return hasattr(tensor, "full_tensor")  # a DTensor, whose import alone takes a second


def local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds, sharing its memory."""
    return cast("DTensor", tensor).to_local() if is_sharded(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Return the whole of a tensor; every process that holds a part must ask."""
    return cast("DTensor", tensor).full_tensor() if is_sharded(tensor) else tensor


def held(tensor: Tensor) -> tuple[slice, ...]:
    """Return where the local part of a tensor lies in the whole, one slice a dimension."""
    if not is_sharded(tensor):
        return tuple(slice(0, size) for size in tensor.shape)
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    split = cast("DTensor", tensor)
    shape, offset = compute_local_shape_and_global_offset(
        split.shape, split.device_mesh, split.placements
    )
    return tuple(slice(o, o + size) for o, size in zip(offset, shape, strict=True))
