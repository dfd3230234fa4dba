"""torch.ops.pypose.preintegrate: the native batched kernel as a differentiable operator.

First derivatives are native; derivatives of them go through the reference, as do function transforms and
forward-mode differentiation, which take the reference from the start.
"""
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from pypose_core import native
from pypose_core.inertial.reference import preintegrate_reference

_transform = torch._C._functorch.peek_interpreter_stack


def preintegrate_sequences(samples: Tensor, bias: Tensor, noise: Tensor, covariance: Tensor | None,
                           every: bool) -> tuple[Tensor, Tensor, Tensor]:
    """`preintegrate_reference`, by the native kernel where that applies; same arguments and results."""
    noise = (noise + noise.mT) / 2
    if covariance is not None:
        covariance = (covariance + covariance.mT) / 2
    if not (native.available and samples.device.type == 'cpu' and samples.shape[1] > 0
            and _transform() is None and forward_ad._current_level < 0):
        return preintegrate_reference(samples, bias, noise, covariance, every)
    inputs = (samples, bias, noise, covariance)
    save = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
    return torch.ops.pypose.preintegrate(*inputs, every, save)[:3]


def _save(ctx, inputs: tuple, output: tuple) -> None:
    samples, bias, noise, covariance, ctx.every, _ = inputs
    ctx.save_for_backward(samples, bias, noise, covariance, output[3])
    ctx.delta_size = output[0].shape
    ctx.set_materialize_grads(False)


def _gradients(ctx, *bars: Tensor | None) -> tuple:
    samples, bias, noise, covariance, checkpoints = ctx.saved_tensors
    delta_bar = samples.new_zeros(ctx.delta_size) if bars[0] is None else bars[0]
    jacobian_bar, covariance_bar = bars[1], None if covariance is None else bars[2]
    results = torch.ops.pypose.preintegrate_backward(
        samples, bias, noise, covariance, checkpoints, delta_bar, jacobian_bar, covariance_bar, ctx.every)
    of_noise, of_first = results[2:] if covariance_bar is not None else (None, None)
    return *results[:2], of_noise, of_first, None, None


def _save_backward(ctx, inputs: tuple, output: tuple) -> None:
    samples, bias, noise, covariance, _, delta_bar, jacobian_bar, covariance_bar, ctx.every = inputs
    if covariance_bar is None:
        covariance = None
    ctx.save_for_backward(samples, bias, noise, covariance, delta_bar, jacobian_bar, covariance_bar)


def _apart(x: Tensor) -> Tensor:
    """x as a node of its own, so that a gradient by one argument has no path through another one."""
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()


def _second_gradients(ctx, *bars: Tensor) -> tuple:
    """Vector-Jacobian product of the gradient itself, by differentiating the reference twice."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        leaves: list[Any] = [None if x is None else _apart(x) for x in ctx.saved_tensors]
        samples, bias, noise, covariance = leaves[:4]
        outputs = preintegrate_reference(samples, bias, noise, covariance, ctx.every)
        pairs = [(y, bar) for y, bar in zip(outputs, leaves[4:]) if bar is not None]
        inputs = [x for x in leaves[:4] if x is not None]
        firsts = torch.autograd.grad([y for y, _ in pairs], inputs, [bar for _, bar in pairs],
                                     create_graph=True, allow_unused=True, materialize_grads=True)
        wanted = [x for x in leaves if x is not None]
        found = iter(torch.autograd.grad(firsts, wanted, bars[:len(firsts)], create_graph=again,
                                         allow_unused=True, materialize_grads=True))
    samples, bias, noise, covariance, *of_bars = (None if x is None else next(found) for x in leaves)
    return samples, bias, noise, covariance, None, *of_bars, None


if native.available:
    torch.library.register_autograd('pypose::preintegrate', _gradients, setup_context=_save)
    torch.library.register_autograd('pypose::preintegrate_backward', _second_gradients,
                                    setup_context=_save_backward)
