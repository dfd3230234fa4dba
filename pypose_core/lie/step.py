"""What the optimizers of torch.optim do to a group parameter, as motions on the group.

They update a parameter p only by `p.add_(d, alpha=s)`, `p.addcdiv_(a, b, value=s)`, `p.addcmul_`, `p.mul_(s)`
(decoupled weight decay) and the torch._foreach_ forms of these, and read it in `g.add(p, alpha=s)` (weight
decay as a term of the gradient).  Methods of LieGroup give the first their meaning; this table, consulted by
LieTensor.__torch_function__, does so for the forms that are functions.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pypose_core.lie.dispatch import plain

if TYPE_CHECKING:
    from pypose_core.lie.group import LieGroup


def _is_group(t) -> bool:
    return hasattr(t, 'ltype') and not t.ltype.on_manifold


def _item(value, i: int):
    return value[i] if isinstance(value, (list, tuple)) else value


def _foreach(method: str, scalars: str | None = None) -> Callable:
    """torch._foreach_<method>, tensor by tensor; `scalars` names the keyword of a trailing scalar."""
    def run(func, args, kwargs):
        tensors, *rest = args
        if not any(map(_is_group, tensors)):
            return NotImplemented
        kwargs = dict(kwargs)
        if scalars is not None and len(rest) == 3:
            kwargs[scalars] = rest.pop()
        if 'scalars' in kwargs:
            kwargs['value'] = kwargs.pop('scalars')
        for i, t in enumerate(tensors):
            getattr(t, method)(*(_item(r, i) for r in rest), **{k: _item(v, i) for k, v in kwargs.items()})
        return None
    return run


def decay_term(X: LieGroup) -> Tensor:
    """Gradient of ½ |Log X|² as a group leaf gets its gradients: [Log X, 0]."""
    x = plain(X.Log())
    return torch.nn.functional.pad(x, (0, X.ltype.group.width - X.ltype.group.dof))


def _add(func, args, kwargs):
    """g + alpha p of a gradient g and a group parameter p: weight decay adds the gradient of ½ |Log p|²."""
    if len(args) != 2:
        return NotImplemented
    g, p = args
    if not (type(g) is Tensor and _is_group(p) and _steps(p) and g.shape == p.shape):
        return NotImplemented
    return g.add(decay_term(p), **kwargs)


def _steps(p: Tensor) -> bool:
    """Whether p is a leaf in an optimizer's hands: these read and write parameters with gradients off."""
    return not torch.is_grad_enabled() and p.is_leaf and p.requires_grad


def _foreach_add(func, args, kwargs):
    if len(args) != 2 or not any(map(_is_group, args[1])):
        return NotImplemented
    return [g.add(p, **kwargs) for g, p in zip(*args)]


def _foreach_add_(func, args, kwargs):
    if any(map(_is_group, args[0])):
        return _foreach('add_')(func, args, kwargs)
    if not isinstance(args[1], (list, tuple)) or not any(map(_is_group, args[1])):
        return NotImplemented
    for g, p in zip(*args):
        g.copy_(g.add(p, **kwargs))
    return None


def _fused(func, args, kwargs):
    raise RuntimeError('fused optimizers know no groups: construct the optimizer with fused=False')


#: By the name of the function; each returns NotImplemented to let torch do as with plain tensors.
SPECIAL: dict[str, Callable] = {
    'add': _add,
    '_foreach_add': _foreach_add,
    '_foreach_add_': _foreach_add_,
    '_foreach_sub_': _foreach('sub_'),
    '_foreach_mul_': _foreach('mul_'),
    '_foreach_addcdiv_': _foreach('addcdiv_', 'value'),
    '_foreach_addcmul_': _foreach('addcmul_', 'value'),
    '_fused_adam_': _fused, '_fused_adamw_': _fused, '_fused_sgd_': _fused, '_fused_adagrad_': _fused,
}
