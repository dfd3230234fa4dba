"""torch.func for functions of LieTensors.

The transforms of torch.func hand plain tensors to the function that they transform.  Those here hand it
LieTensors where the caller gave some.  Derivatives by a group element are in the form of a leaf's
gradient: left tangent, padded with zeros to the storage width.
"""
from __future__ import annotations

import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch._functorch import eager_transforms
from torch._functorch import vmap as vmap_module
from torch.autograd import forward_ad

from pypose_core.lie.dispatch import plain
from pypose_core.lie.lietensor import LieTensor, as_type


def _retyped(func: Callable, kinds: tuple) -> Callable:
    """func with its positional arguments made LieTensors again."""
    @functools.wraps(func)
    def typed(*args, **kwargs):
        return func(*(a if k is None else as_type(a, k) for a, k in zip(args, kinds, strict=True)), **kwargs)
    return typed


def _stripped(args: tuple) -> tuple[tuple, tuple]:
    kinds = tuple(a.kind if isinstance(a, LieTensor) else None for a in args)
    return kinds, tuple(a if k is None else plain(a) for a, k in zip(args, kinds))


def _to_leaf(jacobian, X):
    """A Jacobian, or each of a nested tuple of them, from coordinates to the form of a leaf's gradient."""
    if not isinstance(X, LieTensor) or X.ltype.on_manifold:
        return jacobian
    if isinstance(jacobian, Tensor):
        return X.ltype.group.functions['to_leaf'](plain(X), jacobian)
    return type(jacobian)(_to_leaf(j, X) for j in jacobian)


def _jacobian(transform: Callable, func: Callable, argnums, has_aux: bool, options: dict) -> Callable:
    @functools.wraps(func)
    def jacobian(*args, **kwargs):
        kinds, tensors = _stripped(args)
        result = transform(_retyped(func, kinds), argnums, has_aux=has_aux, **options)(*tensors, **kwargs)
        J, aux = result if has_aux else (result, None)
        if isinstance(argnums, int):
            J = _to_leaf(J, args[argnums])
        elif isinstance(J, tuple) and len(J) == len(argnums):
            J = tuple(_to_leaf(j, args[n]) for j, n in zip(J, argnums))
        return (J, aux) if has_aux else J
    return jacobian


def jacrev(func: Callable, argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False,
           chunk_size: int | None = None, _preallocate_and_copy: bool = False) -> Callable:
    """torch.func.jacrev for functions of LieTensors."""
    return _jacobian(torch.func.jacrev, func, argnums, has_aux,
                     {'chunk_size': chunk_size, '_preallocate_and_copy': _preallocate_and_copy})


def jacfwd(func: Callable, argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False) -> Callable:
    """torch.func.jacfwd for functions of LieTensors."""
    return _jacobian(torch.func.jacfwd, func, argnums, has_aux, {})


def vmap(func: Callable, in_dims=0, out_dims=0, randomness: str = 'error', *,
         chunk_size: int | None = None) -> Callable:
    """torch.func.vmap for functions of LieTensors, over any dimension but their last."""
    @functools.wraps(func)
    def mapped(*args, **kwargs):
        kinds, tensors = _stripped(args)
        out_kind = []

        def inner(*inputs, **keywords):
            out = _retyped(func, kinds)(*inputs, **keywords)
            out_kind.append(out.kind if isinstance(out, LieTensor) else None)
            return plain(out) if isinstance(out, LieTensor) else out
        out = torch.func.vmap(inner, in_dims, out_dims, randomness, chunk_size=chunk_size)(*tensors, **kwargs)
        return out if out_kind[0] is None else as_type(out, out_kind[0])
    return mapped


_retaining: contextvars.ContextVar[bool] = contextvars.ContextVar('retaining', default=False)
_lock, _holders = threading.Lock(), [0]
_originals: dict[str, Callable] = {}
_WRAPPERS = ((forward_ad, 'make_dual'), (eager_transforms, '_wrap_tensor_for_grad'),
             (vmap_module, '_add_batch_dim'))


def _retaining_wrapper(wrap: Callable) -> Callable:
    @functools.wraps(wrap)
    def wrapped(x, *args, **kwargs):
        if isinstance(x, LieTensor) and _retaining.get():
            return as_type(wrap(x, *args, **kwargs), x.kind)
        return wrap(x, *args, **kwargs)
    return wrapped


@contextlib.contextmanager
def retain_ltype() -> Iterator[None]:
    """Within it torch.func's own transforms hand on LieTensors as such, in this thread.

    The only place that changes torch's modules, for as long as a caller is inside: torch.func.vmap makes its
    tensors in C++ and consults no mode (docs/differences_from_pypose.md, limits). The functions of this module do
    without.
    """
    with _lock:
        if _holders[0] == 0:
            for module, name in _WRAPPERS:
                _originals[name] = getattr(module, name)
                setattr(module, name, _retaining_wrapper(_originals[name]))
        _holders[0] += 1
    token = _retaining.set(True)
    try:
        yield
    finally:
        _retaining.reset(token)
        with _lock:
            _holders[0] -= 1
            if _holders[0] == 0:
                for module, name in _WRAPPERS:
                    setattr(module, name, _originals[name])
