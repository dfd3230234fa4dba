"""The least-squares problem of one step: a model with its input, target, weights and kernels.

    minimize over θ   Σ_m ρ( r_mᵀ W_m r_m ),   r = model(input) - target

Residuals are whitened on the way: with W = L Lᵀ all else sees Lᵀ r, so that weights, kernels, Jacobians and
losses cannot disagree.
"""
from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pypose_core.lie.dispatch import plain
from pypose_core.optim.corrector import robust_cost
from pypose_core.optim.tangent import typed


def whitener(W: Tensor, r: Tensor) -> Tensor:
    """Lᵀ with W = L Lᵀ, broadcastable to residual r (..., d).

    Args:
        W: (..., d, d) symmetric positive semidefinite; for d = 1 also (...), one number for each residual.
        r: the residual.
    """
    d = r.shape[-1]
    if d == 1 and (W.ndim < 2 or W.shape[-2:] != (1, 1)):
        W = W[..., None, None]
    if W.ndim < 2 or W.shape[-2:] != (d, d):
        raise ValueError(f'the weight of a residual {tuple(r.shape)} must end in ({d}, {d}); it has '
                         f'{tuple(W.shape)}')
    try:
        fits = torch.broadcast_shapes(W.shape[:-2], r.shape[:-1]) == r.shape[:-1]
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f'a weight {tuple(W.shape)} is not broadcastable to a residual {tuple(r.shape)}')
    W = (W + W.mT) / 2
    L, info = torch.linalg.cholesky_ex(W.to(r.dtype))
    if bool((info == 0).all()):
        return L.mT
    values, vectors = torch.linalg.eigh(W.to(r.dtype))
    if not bool((values >= -1e-6 * values.abs().amax(-1, keepdim=True)).all()):
        raise ValueError('a weight matrix has a negative eigenvalue: '
                         f'{float(values.min()):.3g}; weights must be positive semidefinite')
    return values.clamp(min=0).sqrt().unsqueeze(-1) * vectors.mT


class Weights:
    """Square roots of weight matrices, kept as long as a caller hands in the same ones."""

    def __init__(self):
        self._source: list[tuple[Tensor, int]] = []
        self._roots: list[Tensor | None] = []

    def roots(self, weight, residuals: Sequence[Tensor]) -> list[Tensor | None]:
        """Lᵀ for each residual, None where it has no weight."""
        if weight is None:
            return [None] * len(residuals)
        weight = list(weight) if isinstance(weight, (tuple, list)) else [weight]
        if len(weight) != len(residuals):
            raise ValueError(f'{len(weight)} weights are given for {len(residuals)} residuals')
        source = [(w, -1 if w is None else w._version) for w in weight]
        if len(source) != len(self._source) or any(
                a is not b or va != vb for (a, va), (b, vb) in zip(source, self._source)):
            self._roots = [None if w is None else whitener(plain(w.detach()), r)
                           for w, r in zip(weight, residuals)]
            self._source = source
        return self._roots


def _takes_no_arguments(model: nn.Module) -> bool:
    try:
        inspect.signature(model.forward).bind(None)
    except TypeError:
        return True
    return False


class Problem:
    """A model at one input, as a function of its trainable parameters.

    Args:
        model: its last output dimension is one residual; it may return a tuple of tensors.
        input: a tensor, a tuple of arguments, or a dict of keyword arguments.
        target: what the outputs are to equal; a tuple if the model returns one. None: zero.
        weight: W, or a sequence of one for each output.
        kernels: one for all outputs or one for each; None: ρ(x) = x.
        weights: the cache of the weights' square roots.
    """

    def __init__(self, model: nn.Module, input, target=None, weight=None, *, kernels: Sequence = (None,),
                 weights: Weights | None = None):
        self.model, self.target, self.kernels = model, target, kernels
        self._weight, self._weights = weight, weights or Weights()
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.params = [p for p in model.parameters() if p.requires_grad]
        if not self.params:
            raise ValueError('the model has no parameter that requires gradients: nothing to optimize')
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        if isinstance(input, dict):
            self._kwargs = input
        elif isinstance(input, (tuple, list)):
            self._args = tuple(input)
        elif input is not None or not _takes_no_arguments(model):
            self._args = (input,)

    def residuals(self) -> list[Tensor]:
        """Whitened residuals at the model's parameters, in their graph; each (..., d)."""
        return self._whitened(self.model(*self._args, **self._kwargs))

    def residuals_at(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The same at other values of the parameters, given as coordinates: for torch.func's transforms."""
        named = {name: typed(v, p) for name, p, v in zip(self.names, self.params, values)}
        return self._whitened(functional_call(self.model, named, self._args, self._kwargs))

    def _whitened(self, outputs) -> list[Tensor]:
        several = isinstance(outputs, (tuple, list))
        outputs = list(outputs) if several else [outputs]
        targets = list(self.target) if several and self.target is not None else [self.target] * len(outputs)
        if len(targets) != len(outputs):
            raise ValueError(f'{len(targets)} targets are given for {len(outputs)} outputs of the model')
        residuals = []
        for output, target in zip(outputs, targets):
            r = plain(output) if target is None else plain(output) - plain(target)
            residuals.append(r.reshape(1) if r.ndim == 0 else r)
        roots = self._weights.roots(self._weight, residuals)
        return [r if root is None else (root @ r.unsqueeze(-1)).squeeze(-1)
                for r, root in zip(residuals, roots)]

    def costs(self, residuals: Sequence[Tensor]) -> list[Tensor]:
        """ρ(|r|²) of each residual, of shape (...) for whitened residuals (..., d)."""
        if len(self.kernels) not in (1, len(residuals)):
            raise ValueError(f'{len(self.kernels)} kernels are given for {len(residuals)} residuals')
        kernels = self.kernels if len(self.kernels) > 1 else list(self.kernels) * len(residuals)
        return [robust_cost(k, r.square().sum(-1)) for k, r in zip(kernels, residuals)]
