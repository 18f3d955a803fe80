from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from imagen_video.diffusion.schedule import logsnr_from_t
from imagen_video.errors import InputError
from imagen_video.models.conditions import Conditions
from imagen_video.models.spec import LevelSpec, UNetSpec
from imagen_video.models.unet import VideoUNet
from unit.models.random_networks import (
    ATTENTION,
    CONVOLUTION,
    EVERYTHING,
    LOCAL,
    SPECS,
    awake,
    fresh,
    inputs,
    random,
)

every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


@every_spec
def test_the_output_has_the_shape_of_the_noisy_video(spec: UNetSpec) -> None:
    z, logsnr, conditions = inputs(spec, batch=2, frames=3, height=8, width=12)
    v = awake(spec)(z, logsnr, conditions)
    assert v.shape == z.shape
    assert v.isfinite().all()
    assert v.std() > 0.05


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("spec", [ATTENTION, LOCAL], ids=["plain", "residual"])
def test_any_number_of_channels_works(spec: UNetSpec, channels: int) -> None:
    spec = dataclasses.replace(spec, channels=channels)
    z, logsnr, conditions = inputs(spec)
    assert awake(spec)(z, logsnr, conditions).shape == z.shape


def test_one_level_without_any_condition_works() -> None:
    spec = UNetSpec(levels=(LevelSpec(channels=8, num_blocks=1),), embedding_width=8)
    z, logsnr, conditions = inputs(spec, height=3, width=5)
    assert awake(spec)(z, logsnr, conditions).shape == z.shape


@pytest.mark.parametrize("spec", [ATTENTION, CONVOLUTION], ids=["base", "super-resolution"])
def test_a_new_network_outputs_zero(spec: UNetSpec) -> None:
    z, logsnr, conditions = inputs(spec)
    assert (fresh(spec)(z, logsnr, conditions) == 0).all()


def posterior_mean(z: Tensor, low_res: Tensor, logsnr: Tensor, aug: Tensor, std: float) -> Tensor:
    """E[x | z, y], x | y ~ N(a y, a^2 std^2 + s^2): the two weighed by their precisions."""
    logsnr, aug = logsnr.view(-1, 1, 1, 1, 1), aug.view(-1, 1, 1, 1, 1)
    alpha2, sigma2 = logsnr.sigmoid(), (-logsnr).sigmoid()
    alpha2_aug, sigma2_aug = aug.sigmoid(), (-aug).sigmoid()
    prior_precision = 1 / (alpha2_aug * std**2 + sigma2_aug)
    data_precision = alpha2 / sigma2
    prior_mean = alpha2_aug.sqrt() * low_res
    total = prior_precision + data_precision
    return (prior_precision * prior_mean + data_precision * z / alpha2.sqrt()) / total


def test_a_new_residual_network_predicts_the_posterior_mean_given_the_low_res_video() -> None:
    network = fresh(LOCAL).double()
    z, logsnr, conditions = inputs(LOCAL)
    conditions = conditions.map(lambda t: t.double() if t.is_floating_point() else t)
    assert conditions.low_res is not None
    assert conditions.low_res_logsnr is not None
    z, logsnr = z.double(), logsnr.double()
    v = network(z, logsnr, conditions)
    level = logsnr.view(-1, 1, 1, 1, 1)
    x_hat = level.sigmoid().sqrt() * z - (-level).sigmoid().sqrt() * v
    expected = posterior_mean(z, conditions.low_res, logsnr, conditions.low_res_logsnr, 0.2)
    torch.testing.assert_close(x_hat, expected, rtol=1e-9, atol=1e-9)


def test_a_new_residual_network_at_full_noise_is_the_low_res_video() -> None:
    z, _, conditions = inputs(LOCAL)
    clean = conditions.replace(low_res_logsnr=torch.full((2,), 20.0))
    v = fresh(LOCAL)(z, torch.full((2,), -20.0), clean)
    assert clean.low_res is not None
    torch.testing.assert_close(-v, clean.low_res, rtol=1e-3, atol=1e-3)


def test_the_output_of_a_residual_network_moves_x_by_the_posterior_deviation() -> None:
    spec = dataclasses.replace(LOCAL, residual_std=0.2)
    silent, network = fresh(spec).double(), fresh(spec).double()
    with torch.no_grad():
        assert network.output.bias is not None
        network.output.bias.fill_(1.0)  # the raw output is 1 everywhere
    z, logsnr, conditions = inputs(spec)
    conditions = conditions.map(lambda t: t.double() if t.is_floating_point() else t)
    assert conditions.low_res_logsnr is not None
    z, logsnr = z.double(), logsnr.double()
    moved = network(z, logsnr, conditions) - silent(z, logsnr, conditions)
    for row in range(2):
        aug = conditions.low_res_logsnr[row]
        precision = 1 / (aug.sigmoid() * 0.2**2 + (-aug).sigmoid()) + logsnr[row].exp()
        x_moved = -(-logsnr[row]).sigmoid().sqrt() * moved[row]
        # like v = alpha eps - sigma x, the output counts x negatively
        torch.testing.assert_close(
            x_moved, torch.full_like(x_moved, -math.sqrt(1 / precision)), rtol=1e-9, atol=1e-9
        )


@every_spec
def test_autocast_to_bfloat16_returns_the_input_type_and_nearly_the_same_values(
    spec: UNetSpec,
) -> None:
    z, logsnr, conditions = inputs(spec)
    network = awake(spec)
    with torch.no_grad():
        exact = network(z, logsnr, conditions)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(z, logsnr, conditions)
    assert rounded.dtype == torch.float32
    error = (rounded - exact).std() / exact.std()
    # bf16 has eight bits; a few dozen layers add up to some percent
    assert 1e-4 < error < 0.1


@every_spec
def test_float64_weights_and_inputs_work_and_agree_with_float32(spec: UNetSpec) -> None:
    z, logsnr, conditions = inputs(spec)
    single = awake(spec)(z, logsnr, conditions)
    wide = conditions.map(lambda t: t.double() if t.is_floating_point() else t)
    double = awake(spec).double()(z.double(), logsnr.double(), wide)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single, double.float(), rtol=1e-3, atol=1e-3)


@every_spec
def test_pure_bfloat16_weights_and_inputs_work(spec: UNetSpec) -> None:
    z, logsnr, conditions = inputs(spec)
    v = awake(spec).to(torch.bfloat16)(z.to(torch.bfloat16), logsnr, conditions)
    assert v.dtype == torch.bfloat16
    assert v.isfinite().all()


def test_pure_bfloat16_tells_near_noise_levels_apart() -> None:
    """Rounded to 8 bits before it is embedded, the log SNR of t = 0.900 would be that of 0.902."""
    z, _, conditions = inputs(ATTENTION)
    network = awake(ATTENTION).to(torch.bfloat16)
    seen: list[torch.Tensor] = []
    network.embedding.noise_level.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for t in (0.900, 0.902):
        logsnr = logsnr_from_t(torch.full((len(z),), t))
        network(z.to(torch.bfloat16), logsnr, conditions)
    assert not torch.equal(seen[0], seen[1])


def test_both_ends_of_time_are_finite() -> None:
    z, _, conditions = inputs(EVERYTHING)
    for level in (-20.0, 20.0):
        v = awake(EVERYTHING)(z, torch.full((2,), level), conditions)
        assert v.isfinite().all()


def gradients(network: VideoUNet, checkpointed: bool) -> tuple[Tensor, list[Tensor]]:
    z, logsnr, conditions = inputs(network.spec)
    network.gradient_checkpointing = checkpointed
    network.zero_grad()
    loss = network(z, logsnr, conditions).square().mean()
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in network.parameters() if p.grad is not None]


@every_spec
def test_gradient_checkpointing_changes_neither_loss_nor_gradients(spec: UNetSpec) -> None:
    network = awake(spec)
    loss, plain = gradients(network, checkpointed=False)
    other_loss, recomputed = gradients(network, checkpointed=True)
    assert torch.equal(loss, other_loss)
    assert len(plain) == len(recomputed)
    for a, b in zip(plain, recomputed, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_gradient_checkpointing_keeps_fewer_activations() -> None:
    def kept_bytes(checkpointed: bool) -> int:
        network = awake(ATTENTION)
        network.gradient_checkpointing = checkpointed
        seen: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network(*inputs(ATTENTION))
        return sum(seen.values())

    assert kept_bytes(checkpointed=True) < 0.5 * kept_bytes(checkpointed=False)


@every_spec
def test_every_parameter_receives_a_gradient(spec: UNetSpec) -> None:
    network = awake(spec)
    gradients(network, checkpointed=False)
    unused = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    # a number added to every score of a softmax: its gradient is zero or rounding
    assert unused <= {"embedding.text_pooling.key.bias"}


@pytest.mark.parametrize(("height", "width"), [(7, 12), (8, 13), (2, 6)])
def test_sizes_that_the_strides_do_not_divide_are_refused(height: int, width: int) -> None:
    z, logsnr, conditions = inputs(LOCAL, height=height, width=width)
    with pytest.raises(InputError, match="multiples of 4"):
        fresh(LOCAL)(z, logsnr, conditions)


@pytest.mark.parametrize("order", ["b c f h w", "b f h w c", "f c h w"])
def test_another_order_of_axes_is_refused(order: str) -> None:
    z, logsnr, conditions = inputs(ATTENTION, frames=4)
    moved = {"b c f h w": z.transpose(1, 2), "b f h w c": z.movedim(2, 4), "f c h w": z[0]}[order]
    with pytest.raises(InputError, match="reorder"):
        fresh(ATTENTION)(moved, logsnr, conditions)


def test_a_missing_or_small_low_res_video_is_refused() -> None:
    z, logsnr, conditions = inputs(CONVOLUTION)
    assert conditions.low_res is not None
    for low_res in (None, conditions.low_res[..., ::2, ::2]):
        with pytest.raises(InputError, match="low_res"):
            fresh(CONVOLUTION)(z, logsnr, conditions.replace(low_res=low_res))


def test_conditions_of_another_width_are_refused() -> None:
    z, logsnr, conditions = inputs(EVERYTHING)
    assert conditions.given_frames is not None
    for wrong in (
        {"text_states": random(2, 5, 99)},
        {"vector": random(2, 99)},
        {"given_frames": conditions.given_frames[:, :1]},
    ):
        with pytest.raises(InputError, match=next(iter(wrong))):
            fresh(EVERYTHING)(z, logsnr, conditions.replace(**wrong))


def test_two_noise_levels_and_two_augmentation_levels_give_four_outputs() -> None:
    network = awake(dataclasses.replace(LOCAL, residual_std=None))
    z, _, conditions = inputs(LOCAL, batch=1)
    outputs = [
        network(z, torch.full((1,), a), conditions.replace(low_res_logsnr=torch.full((1,), b)))
        for a in (0.0, 0.5)
        for b in (3.0, 3.5)
    ]
    for i, one in enumerate(outputs):
        for other in outputs[:i]:
            assert (one - other).abs().max() > 1e-3


def test_features_stay_in_channels_last_memory() -> None:
    seen: list[bool] = []
    network = awake(CONVOLUTION)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(
                lambda _, args: seen.append(
                    args[0].is_contiguous(memory_format=torch.channels_last)
                )
            )
    network(*inputs(CONVOLUTION))
    assert len(seen) > 10
    # the convolution over frames sees a view in which the frames are the rows
    assert all(seen)


COMPILE = """
import sys, torch
from unit.models.random_networks import SPECS, awake, inputs

spec = SPECS[sys.argv[1]]
network, arguments = awake(spec), inputs(spec)
with torch.no_grad():
    compiled = torch.compile(network, fullgraph=True)(*arguments)
    torch.testing.assert_close(compiled, network(*arguments), rtol=1e-3, atol=1e-3)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_a_network_compiles_as_one_graph_to_the_same_values(name: str) -> None:
    # in a process of its own: the checks of shapes in tests would break the graph
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", COMPILE, name], check=True, env=environment)


def test_a_network_is_the_same_for_the_same_seed() -> None:
    z, logsnr, _ = inputs(ATTENTION)
    one, other = awake(ATTENTION, seed=3), awake(ATTENTION, seed=3)
    assert torch.equal(one(z, logsnr, Conditions()), other(z, logsnr, Conditions()))


def test_skips_are_joined_on_channels_and_scaled_by_one_over_root_two() -> None:
    network = awake(ATTENTION)
    seen: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if name in ("down.0.0", "upsample.0"):
            module.register_forward_hook(
                lambda _module, _args, result, name=name: seen.update({name: result})
            )
        if name == "up.0.0":
            module.register_forward_pre_hook(lambda _module, args: seen.update(joined=args[0]))
    network(*inputs(ATTENTION))
    expected = torch.cat([seen["upsample.0"], seen["down.0.0"] / math.sqrt(2)], dim=1)
    assert torch.equal(seen["joined"], expected)
