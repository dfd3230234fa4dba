"""Tracing: a user's torch function called with symbols, to be evaluated natively afterwards.

A `Traced` stands where a tensor of shape (n,) would: indexing, arithmetic and the torch functions listed below
work on it, and build an expression graph. What cannot be traced raises `Untraceable`, with the reason.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from pypose_core.control.expression import Graph, Node


class Untraceable(TypeError):
    """The function does something that has no expression; it can still be evaluated by torch."""


def _elements(x) -> np.ndarray:
    """Anything that appears beside a Traced, as an array of numbers or nodes."""
    if isinstance(x, Traced):
        return x.elements
    if isinstance(x, Tensor):
        if x.requires_grad:
            raise Untraceable('the function uses a tensor that requires gradients: its values would be frozen')
        return x.detach().cpu().double().numpy()
    return np.asarray(x)


class Traced:
    """An array of expressions that behaves as a float64 tensor."""

    __array_priority__ = 1000
    dtype = torch.float64
    device = torch.device('cpu')
    requires_grad = False

    def __init__(self, elements):
        self.elements = np.asarray(elements, dtype=object)

    @classmethod
    def inputs(cls, graph: Graph, start: int, shape: Sequence[int]) -> Traced:
        """New symbols, numbered from `start`."""
        count = int(np.prod(shape, dtype=int))
        nodes = np.empty(count, dtype=object)
        nodes[:] = [graph.input(start + i) for i in range(count)]
        return cls(nodes.reshape(tuple(shape)))

    def nodes(self, graph: Graph) -> list[int]:
        """The indices of the elements, numbers made constants."""
        return [e.index if isinstance(e, Node) else graph.constant(e) for e in self.elements.reshape(-1)]

    @property
    def shape(self) -> torch.Size:
        return torch.Size(self.elements.shape)

    @property
    def ndim(self) -> int:
        return self.elements.ndim

    def dim(self) -> int:
        return self.elements.ndim

    def size(self, dim: int | None = None):
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return len(self.elements)

    def __iter__(self):
        return (Traced(e) for e in self.elements)

    def __getitem__(self, key) -> Traced:
        if isinstance(key, Tensor):
            key = key.numpy()
        return Traced(self.elements[key])

    def __setitem__(self, key, value):
        raise Untraceable('assignment to elements; use torch.stack or torch.cat instead')

    def __bool__(self):
        raise Untraceable('a branch on a value; use torch.where instead')

    def __float__(self):
        raise Untraceable('a conversion to float')

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        name = getattr(func, '__name__', str(func)).strip('_')
        implementation = _FUNCTIONS.get(name)
        if implementation is None:
            raise Untraceable(f'torch function {name!r} has no expression')
        return implementation(*args, **(kwargs or {}))

    def __getattr__(self, name: str):
        if name.startswith('_'):
            raise AttributeError(name)
        implementation = _FUNCTIONS.get(name)
        if implementation is None:
            raise Untraceable(f'tensor attribute {name!r} has no expression')
        return lambda *args, **kwargs: implementation(self, *args, **kwargs)

    def __add__(self, other):
        return _binary(np.add)(self, other)

    def __radd__(self, other):
        return _binary(np.add)(other, self)

    def __sub__(self, other):
        return _binary(np.subtract)(self, other)

    def __rsub__(self, other):
        return _binary(np.subtract)(other, self)

    def __mul__(self, other):
        return _binary(np.multiply)(self, other)

    def __rmul__(self, other):
        return _binary(np.multiply)(other, self)

    def __truediv__(self, other):
        return _binary(np.true_divide)(self, other)

    def __rtruediv__(self, other):
        return _binary(np.true_divide)(other, self)

    def __pow__(self, other):
        return _binary(np.power)(self, other)

    def __matmul__(self, other):
        return _matmul(self, other)

    def __rmatmul__(self, other):
        return _matmul(other, self)

    def __neg__(self):
        return Traced(-self.elements)

    def __gt__(self, other):
        return _greater(self, other)

    def __lt__(self, other):
        return _greater(other, self)

    __ge__, __le__ = __gt__, __lt__

    @property
    def mT(self) -> Traced:
        return Traced(np.swapaxes(self.elements, -1, -2))

    T = mT


def _binary(function: Callable) -> Callable:
    return lambda a, b, **_: Traced(function(_elements(a), _elements(b)))


def _matmul(a, b) -> Traced:
    a, b = _elements(a), _elements(b)
    return Traced(np.dot(a, b) if a.ndim <= 2 and b.ndim <= 2 else np.matmul(a.astype(object), b.astype(object)))


def _elementwise(op: str) -> Callable:
    from pypose_core.control.expression import _FOLD as fold

    def one(e):
        return e.unary(op) if isinstance(e, Node) else fold[op](float(e))
    vectorized = np.frompyfunc(one, 1, 1)
    return lambda x, **_: Traced(vectorized(_elements(x)))


def _pairwise(op: str) -> Callable:
    from pypose_core.control.expression import _FOLD as fold

    def one(a, b):
        if isinstance(a, Node):
            return a.binary(op, b)
        if isinstance(b, Node):
            return Node(b.graph, b.graph.constant(a)).binary(op, b)
        return fold[op](float(a), float(b))
    vectorized = np.frompyfunc(one, 2, 1)
    return lambda a, b, **_: Traced(vectorized(_elements(a), _elements(b)))


_greater, _maximum, _minimum = _pairwise('greater'), _pairwise('max'), _pairwise('min')
_sqrt, _exp = _elementwise('sqrt'), _elementwise('exp')


def _where(condition, a, b) -> Traced:
    def one(c, x, y):
        if not isinstance(c, Node):
            return x if c else y
        x, y = (v.index if isinstance(v, Node) else c.graph.constant(v) for v in (x, y))
        return Node(c.graph, c.graph.make('select', c.index, x, y))
    return Traced(np.frompyfunc(one, 3, 1)(_elements(condition), _elements(a), _elements(b)))


def _sum(x, dim=None, keepdim=False, **_) -> Traced:
    return Traced(np.sum(_elements(x), axis=tuple(dim) if isinstance(dim, list) else dim, keepdims=keepdim))


def _norm(x, p=2, dim=None, keepdim=False, ord=2, **_) -> Traced:
    if p not in (2, None, 'fro') or ord not in (2, None):
        raise Untraceable('a norm other than the Euclidean')
    x = _elements(x)
    return _sqrt(Traced(np.sum(x * x, axis=dim, keepdims=keepdim)))


def _clamp(x, min=None, max=None) -> Traced:
    x = x if min is None else _maximum(x, min)
    return x if max is None else _minimum(x, max)


def _linear(x, weight, bias=None) -> Traced:
    result = _matmul(x, weight.mT)
    return result if bias is None else result + bias


def _like(value: float) -> Callable:
    return lambda x, **_: Traced(np.full(_elements(x).shape, value))


def _sinc(x) -> Traced:
    """sin(π x) / (π x), by its series near 0, where neither value nor derivatives may divide by it."""
    z = math.pi * x
    squared = z * z
    far = squared > 1e-4
    safe = _where(far, z, 1.0)
    series = 1 - squared / 6 * (1 - squared / 20 * (1 - squared / 42))
    return _where(far, _elementwise('sin')(safe) / safe, series)


def _softplus(x, beta=1.0, **_) -> Traced:
    return _maximum(x, 0.0) + _elementwise('log')(1 + _exp(-beta * _elementwise('abs')(x))) / beta


def _asin(x, **_) -> Traced:
    return _pairwise('atan2')(x, _sqrt(1 - x * x))


def _parts(x, sizes, dim=0) -> tuple[Traced, ...]:
    """split(): parts of given sizes, or of one size."""
    x = _elements(x)
    count = x.shape[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, count - i) for i in range(0, count, sizes)]
    return tuple(Traced(part) for part in np.split(x, np.cumsum(sizes)[:-1], dim))


def _cross(a, b, dim=-1) -> Traced:
    a, b = _elements(a), _elements(b)
    return Traced(np.stack([a[..., i] * b[..., j] - a[..., j] * b[..., i] for i, j in ((1, 2), (2, 0), (0, 1))], -1))


_FUNCTIONS: dict[str, Callable] = {
    **{op: _elementwise(op) for op in ('sin', 'cos', 'tan', 'sqrt', 'exp', 'log', 'tanh', 'atan', 'abs')},
    'arctan': _elementwise('atan'), 'neg': lambda x: -x, 'atan2': _pairwise('atan2'), 'arctan2': _pairwise('atan2'),
    'add': _binary(np.add), 'radd': lambda a, b: b + a, 'sub': _binary(np.subtract), 'rsub': lambda a, b: b - a,
    'mul': _binary(np.multiply), 'rmul': lambda a, b: b * a, 'multiply': _binary(np.multiply),
    'div': _binary(np.true_divide), 'truediv': _binary(np.true_divide), 'true_divide': _binary(np.true_divide),
    'rdiv': lambda a, b: b / a, 'rtruediv': lambda a, b: b / a, 'pow': _binary(np.power),
    'square': lambda x: x * x, 'reciprocal': lambda x: 1 / x, 'sigmoid': lambda x: 1 / (1 + _exp(-x)),
    'maximum': _maximum, 'minimum': _minimum, 'max': _maximum, 'min': _minimum, 'clamp': _clamp, 'clip': _clamp,
    'relu': lambda x, **_: _maximum(x, 0.0), 'gt': _greater, 'lt': lambda a, b: _greater(b, a), 'where': _where,
    'sinc': _sinc, 'asin': _asin, 'arcsin': _asin, 'acos': lambda x: math.pi / 2 - _asin(x),
    'sinh': lambda x: (_exp(x) - _exp(-x)) / 2, 'cosh': lambda x: (_exp(x) + _exp(-x)) / 2,
    'sign': lambda x: _greater(x, 0.0) - _greater(0.0, x), 'rsqrt': lambda x: 1 / _sqrt(x),
    'softplus': _softplus, 'silu': lambda x, **_: x / (1 + _exp(-x)),
    'elu': lambda x, alpha=1.0, **_: _maximum(x, 0.0) + alpha * (_exp(_minimum(x, 0.0)) - 1),
    'leaky_relu': lambda x, negative_slope=0.01, **_: _maximum(x, 0.0) + negative_slope * _minimum(x, 0.0),
    'hypot': lambda a, b: _sqrt(a * a + b * b),
    'stack': lambda xs, dim=0: Traced(np.stack(np.broadcast_arrays(*map(_elements, xs)), dim)),
    'cat': lambda xs, dim=0: Traced(np.concatenate([_elements(x) for x in xs], dim)),
    'concat': lambda xs, dim=0: Traced(np.concatenate([_elements(x) for x in xs], dim)),
    'sum': _sum, 'mean': lambda x, dim=None, **_: Traced(np.mean(_elements(x), axis=dim)),
    'norm': _norm, 'vector_norm': _norm, 'linalg_vector_norm': _norm, 'linalg_norm': _norm,
    'matmul': _matmul, 'rmatmul': lambda a, b: _matmul(b, a), 'mv': _matmul, 'mm': _matmul, 'dot': _matmul,
    'linear': _linear, 'cross': _cross, 'linalg_cross': _cross,
    'zeros_like': _like(0.0), 'ones_like': _like(1.0),
    'unsqueeze': lambda x, dim: Traced(np.expand_dims(_elements(x), dim)),
    'squeeze': lambda x, dim=None: Traced(np.squeeze(_elements(x), dim)),
    'reshape': lambda x, *shape: Traced(_elements(x).reshape(*shape)),
    'flatten': lambda x, start_dim=0, end_dim=-1: Traced(_elements(x).reshape(-1)),
    'split': _parts, 'split_with_sizes': _parts,
    'chunk': lambda x, chunks, dim=0: _parts(x, -(-_elements(x).shape[dim] // chunks), dim),
    'expand': lambda x, *shape: Traced(np.broadcast_to(_elements(x), [
        n if s == -1 else s for n, s in zip(_elements(x).shape[-len(shape):], shape)])),
    'expand_as': lambda x, other: Traced(np.broadcast_to(_elements(x), other.shape)),
    'unbind': lambda x, dim=0: tuple(Traced(e) for e in np.moveaxis(_elements(x), dim, 0)),
    'to': lambda x, *_, **__: x, 'double': lambda x: x, 'clone': lambda x, **_: x, 'detach': lambda x: x,
    'tensor': lambda x: x,
}
