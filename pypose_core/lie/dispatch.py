"""One call for each operation of a group: the native kernel where it applies, the reference elsewhere.

The native kernels are for eager execution.  Function transforms, forward-mode differentiation,
compilation and export see the reference, which is made of operations that all of them know.
"""
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from pypose_core import native
from pypose_core.lie.reference import Group

is_compiling = torch.compiler.is_dynamo_compiling
_transform = torch._C._functorch.peek_interpreter_stack
#: Calls a function on a subclass of Tensor without its __torch_function__.
call_plain: Callable[..., Any] = torch._C._disabled_torch_function_impl

UNARY = ('exp', 'log', 'inv', 'matrix', 'jr', 'euler')
BINARY = ('mul', 'between', 'retract', 'act', 'act_homogeneous', 'adj', 'adjt', 'jinvp', 'to_leaf')
#: Seldom called, by the reference only.
OTHERS = ('jl', 'jl_inv', 'jr_inv', 'adjoint', 'hat', 'vee', 'jlp', 'jl_invp')


def plain(x: Tensor) -> Tensor:
    """The coordinates as a torch.Tensor, in the graph."""
    if is_compiling():
        with torch._C.DisableTorchFunctionSubclass():
            return torch.ops.aten.alias.default(x)
    return x if type(x) is Tensor else x.as_subclass(Tensor)


def eager() -> bool:
    """Whether nothing is tracing or transforming this call."""
    return not is_compiling() and _transform() is None and forward_ad._current_level < 0


def _native(name: str) -> Callable | None:
    if not native.available:
        return None
    try:
        # The operation itself, without the Python layers of torch.ops around it.
        return torch._C._jit_get_operation(f'pypose::{name}')[0]
    except RuntimeError:
        return None


def _unary(kernel: Callable | None, reference: Callable) -> Callable:
    if kernel is None:
        return lambda x: reference(plain(x))

    def operation(x: Tensor) -> Tensor:
        if eager():
            return call_plain(kernel, (), (x,))
        return reference(plain(x))
    return operation


def _binary(kernel: Callable | None, reference: Callable) -> Callable:
    if kernel is None:
        return lambda x, y: reference(plain(x), plain(y))

    def operation(x: Tensor, y: Tensor) -> Tensor:
        if eager():
            return call_plain(kernel, (), (x, y))
        return reference(plain(x), plain(y))
    return operation


class Operations:
    """The operations of one group on tensors of any class; results are plain tensors.

    Subclassed once for each group, with a static method for each name in UNARY, BINARY and OTHERS: a class
    and plain numbers, since torch.compile follows those wherever it meets them.
    """
    width: int
    """Numbers an element is stored in."""
    dof: int
    """Dimension of the tangent space."""
    point: int
    """Dimension of the points that the group acts on."""
    rotation: tuple[int, int]
    """Where in the storage the rotation lies."""

    exp: Callable[[Tensor], Tensor]
    log: Callable[[Tensor], Tensor]
    inv: Callable[[Tensor], Tensor]
    matrix: Callable[[Tensor], Tensor]
    euler: Callable[[Tensor], Tensor]
    hat: Callable[[Tensor], Tensor]
    vee: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]
    jr: Callable[[Tensor], Tensor]
    jl: Callable[[Tensor], Tensor]
    jr_inv: Callable[[Tensor], Tensor]
    jl_inv: Callable[[Tensor], Tensor]
    mul: Callable[[Tensor, Tensor], Tensor]
    between: Callable[[Tensor, Tensor], Tensor]
    retract: Callable[[Tensor, Tensor], Tensor]
    act: Callable[[Tensor, Tensor], Tensor]
    act_homogeneous: Callable[[Tensor, Tensor], Tensor]
    adj: Callable[[Tensor, Tensor], Tensor]
    adjt: Callable[[Tensor, Tensor], Tensor]
    jinvp: Callable[[Tensor, Tensor], Tensor]
    jlp: Callable[[Tensor, Tensor], Tensor]
    jl_invp: Callable[[Tensor, Tensor], Tensor]
    to_leaf: Callable[[Tensor, Tensor], Tensor]


def operations_of(group: Group) -> type[Operations]:
    """The operations of a group."""
    members = {name: getattr(group, name) for name in ('width', 'dof', 'point', 'rotation')}
    for name in UNARY:
        members[name] = _unary(_native(f'{group.name}_{name}'), group.functions[name])
    for name in BINARY:
        members[name] = _binary(_native(f'{group.name}_{name}'), group.functions[name])
    for name in OTHERS:
        two = name in ('jlp', 'jl_invp')
        members[name] = (_binary if two else _unary)(None, group.functions[name])
    return type(f'{group.name}Operations', (Operations,), {
        name: staticmethod(member) if callable(member) else member for name, member in members.items()})
