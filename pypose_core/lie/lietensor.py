"""LieTensor: a torch.Tensor whose last dimension holds elements of a Lie group or of its algebra.

In the graph a LieTensor is its coordinates: every operation has its true derivative.  Only at a leaf that
holds group elements the gradient is delivered as a left-tangent one (leaf.py).
"""
from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, overload

import torch
from torch import Tensor

from pypose_core.lie import cumulative, leaf
from pypose_core.lie.dispatch import call_plain, eager, is_compiling, plain
from pypose_core.lie.step import SPECIAL

if TYPE_CHECKING:
    from pypose_core.lie.dispatch import Operations
    from pypose_core.lie.ltype import LieType

L = TypeVar('L', bound='LieTensor')

#: Functions that move whole elements: what they return of LieTensors are LieTensors, as in PyPose.
KEEPS_TYPE = frozenset((
    '__getitem__', '__setitem__', 'getitem', 'setitem', 'cpu', 'cuda', 'float', 'double', 'half',
    'bfloat16', 'to', 'type_as', 'detach', 'view', 'view_as', 'squeeze', 'unsqueeze', 'cat', 'stack',
    'split', 'hsplit', 'dsplit', 'vsplit', 'tensor_split', 'chunk', 'concat', 'concatenate',
    'column_stack', 'dstack', 'vstack', 'hstack', 'row_stack', 'index_select', 'masked_select',
    'movedim', 'moveaxis', 'narrow', 'permute', 'reshape', 'scatter', 'scatter_add', 'clone',
    'contiguous', 'swapaxes', 'swapdims', 'take', 'take_along_dim', 'tile', 'copy', 'copy_',
    'transpose', 'unbind', 'gather', 'repeat', 'expand', 'expand_as', 'index_copy', 'index_copy_',
    'select', 'select_scatter', 'index_put', 'index_put_', 'pin_memory'))

OPERATORS = frozenset(('matmul', '__matmul__', 'mul', '__mul__', 'add', '__add__'))

# Descriptors: torch's stubs declare what these give of an instance.
_shape: Any = Tensor.shape
_requires_grad: Any = Tensor.requires_grad
_get_shape = _shape.__get__
_get_item = Tensor.__getitem__
_clone = Tensor.clone
_get_requires_grad = _requires_grad.__get__
_set_requires_grad = _requires_grad.__set__

_run_backward = torch.autograd.Variable._execution_engine.run_backward
#: At level DEBUG torch writes down each node of a graph that it runs.
_graph_log = logging.getLogger('torch.autograd.graph')


def as_type(t: Tensor, cls: type[L]) -> L:
    """t as a LieTensor of class cls, sharing its data and its place in the graph."""
    if is_compiling():
        from pypose_core.lie.groups import as_type_compiled
        return as_type_compiled(t, cls)     # type: ignore[return-value]    # one for each cls
    return t.as_subclass(cls)


def fresh(t: Tensor, cls: type[L]) -> L:
    """as_type() for a tensor nobody else holds: without a node of its own in the graph."""
    if type(t) is Tensor and not is_compiling():
        t.__class__ = cls
        return t    # type: ignore[return-value]    # its class is cls now
    return as_type(t, cls)


def wrap_result(result, cls: type[LieTensor]):
    """Tensors (also in tuples and lists) that can hold elements of cls become such LieTensors."""
    if isinstance(result, Tensor):
        if isinstance(result, LieTensor) or result.shape[-1:] != (cls.width,):
            return result
        return as_type(result, cls)
    if isinstance(result, (tuple, list)):
        return type(result)([wrap_result(r, cls) for r in result])
    return result


def _takes_whole(index: tuple, X: Tensor) -> bool:
    """Whether a tuple of indices leaves the last dimension of X, which is one element, as it is."""
    used = sum(0 if i is None or i is Ellipsis else i.ndim if getattr(i, 'dtype', None) == torch.bool else 1
               for i in index)
    if used < X.dim() and not any(i is Ellipsis for i in index):
        return True
    last, width = index[-1], X.size(-1)
    return last is Ellipsis or (isinstance(last, slice) and last.indices(width) == (0, width, 1))


def first_type(args) -> type[LieTensor] | None:
    """The class of the first LieTensor among arguments."""
    for arg in args:
        if isinstance(arg, LieTensor):
            return type(arg).kind
        if isinstance(arg, (tuple, list)):
            found = first_type(arg)
            if found is not None:
                return found
    return None


class LieTensor(Tensor):
    """Elements of a Lie group or algebra in the last dimension of a tensor.

    Args:
        data: a tensor (..., width), or what torch.Tensor() takes; integers are a shape (identities).
        ltype: type of the elements, e.g. pp.SE3_type; the classes pp.SE3, pp.so3, ... have their own.
        requires_grad: make it a leaf that requires gradients.
    """
    ltype: LieType
    kind: type[LieTensor]
    width: int

    @staticmethod
    def __new__(cls, *data, ltype: LieType | None = None, requires_grad: bool = False):
        if ltype is None:
            if cls is LieTensor:
                raise TypeError('LieTensor needs ltype=, e.g. pp.SE3_type; or use e.g. pp.SE3(data)')
            ltype = cls.ltype
        if isinstance(data[0], Tensor):
            x = plain(data[0])
        elif all(isinstance(n, int) for n in data):
            x = plain(ltype.identity(*data[:-1])) if data[-1] == ltype.dimension[0] else torch.zeros(data)
        else:
            x = torch.Tensor(*data)
        if x.shape[-1:] != ltype.dimension:
            raise ValueError(f'the last dimension of a LieTensor of type {ltype.name} must be '
                             f'{ltype.dimension[0]}, but the shape is {tuple(x.shape)}')
        X = as_type(x, ltype.cls)
        return X.requires_grad_(requires_grad) if requires_grad else X

    def __init__(self, *data, ltype: LieType | None = None, requires_grad: bool = False):
        """All is done by __new__."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        name = getattr(func, '__name__', '')
        if is_compiling() and isinstance(args[0], LieTensor) and name in OPERATORS:
            # torch.compile calls no operators that a subclass defines, but comes here with them.
            if name in ('matmul', '__matmul__') and func is not torch.matmul:
                return args[0].__matmul__(args[1])
            if name in ('mul', '__mul__') and func is not torch.mul:
                return args[0].mul(args[1])
            if name in ('add', '__add__') and func is not torch.add:
                return args[0].add(args[1])
        if name == 'register_hook' and not is_compiling():
            return leaf.register_hook(*args, **(kwargs or {}))
        special = SPECIAL.get(name)
        if special is not None:
            result = special(func, args, kwargs or {})
            if result is not NotImplemented:
                return result
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        if name in KEEPS_TYPE:
            kind = first_type(args)
            return result if kind is None else wrap_result(result, kind)
        return result

    # What is asked of a tensor most often, without the way through __torch_function__.

    @property
    def shape(self) -> torch.Size:
        if is_compiling():
            return plain(self).shape
        return call_plain(_get_shape, (), (self,))

    @property
    def lshape(self) -> torch.Size:
        """The shape without the last dimension, which is one element."""
        return self.shape[:-1]

    @property
    def requires_grad(self) -> bool:
        if is_compiling():
            return plain(self).requires_grad
        return call_plain(_get_requires_grad, (), (self,))

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        call_plain(_set_requires_grad, (), (self, value))
        if value:
            leaf.deliver_left_tangent(self)

    def requires_grad_(self, requires_grad: bool = True) -> LieTensor:
        if requires_grad or self.requires_grad:
            self.requires_grad = requires_grad
        return self

    def register_hook(self, hook):
        """Call hook(gradient) with the gradient as it is delivered, as with torch.Tensor."""
        return leaf.register_hook(self, hook)

    def __getitem__(self, index):
        if is_compiling():
            x = plain(self)
            whole = type(index) is not tuple or _takes_whole(index, x)
            return wrap_result(x[index], type(self).kind) if whole else x[index]
        item = call_plain(_get_item, (), (self, index))
        if type(index) in (int, slice) and type(item) is Tensor:
            dim = item.dim()
            if (dim > 0 if type(index) is int else dim > 1):
                item.__class__ = type(self).kind
                return item
        if type(index) is tuple and not _takes_whole(index, plain(self)):
            return plain(item)
        return wrap_result(item, type(self).kind)

    def backward(self, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False,
                 inputs=None) -> None:
        """Tensor.backward(): derivatives of the coordinates, weighed by `gradient`, into the leaves' .grad."""
        if (inputs is None and type(gradient) is Tensor and gradient.is_cpu and eager() and
                not _graph_log.isEnabledFor(logging.DEBUG) and
                gradient.shape == call_plain(_get_shape, (), (self,))):
            # torch's Python checks what is known here, and keeps the context for other devices' threads, which takes
            # longer than the derivatives of a few elements.
            retain = create_graph if retain_graph is None else retain_graph
            _run_backward((self,), (gradient,), retain, create_graph, (), allow_unreachable=True, accumulate_grad=True)
        else:
            torch.autograd.backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def clone(self, *, memory_format: torch.memory_format | None = torch.preserve_format) -> LieTensor:
        if is_compiling():
            return as_type(plain(self).clone(memory_format=memory_format), type(self).kind)
        copy = call_plain(_clone, (), (self,), {'memory_format': memory_format})
        return fresh(copy, type(self).kind)

    def __repr__(self, *, tensor_contents=None) -> str:
        name = 'Parameter' if getattr(self, '_is_param', False) else 'LieTensor'
        # The coordinates of a leaf are none themselves: they would show how they were taken.
        shown = plain(self.detach()).requires_grad_(self.requires_grad) if self.is_leaf else plain(self)
        return f'{self.ltype} {name}:\n{shown!r}'

    def __deepcopy__(self, memo: dict) -> LieTensor:
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError('only leaves of the graph can be deep-copied; detach() the LieTensor first')
        with torch.no_grad():
            copy = rebuild(type(self), plain(self.clone()), self.requires_grad)
        memo[id(self)] = copy
        return copy

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple:
        if self.requires_grad and not self.is_leaf:
            raise RuntimeError('only leaves of the graph can be pickled; detach() the LieTensor first')
        return rebuild, (type(self), plain(self.detach()), self.requires_grad)

    def new_empty(self, size, *, dtype=None, layout=None, device=None, pin_memory=False,
                  requires_grad=None) -> LieTensor:
        """An uninitialised LieTensor of the same type, of shape `size` with the elements' dimension last."""
        t = torch.empty(size, dtype=dtype or self.dtype, layout=layout or self.layout, device=device or self.device,
                        pin_memory=bool(pin_memory))
        return as_type(t, type(self).kind).requires_grad_(
            self.requires_grad if requires_grad is None else requires_grad)

    def tensor(self) -> Tensor:
        """The coordinates as a torch.Tensor, sharing data and graph."""
        return plain(self)

    def lview(self, *shape: int) -> LieTensor:
        """view() by the shape without the last dimension."""
        return self.view(*shape, type(self).width)

    def identity_(self) -> LieTensor:
        """Set every element to the identity, in place."""
        with torch.no_grad():
            row = plain(self.ltype.identity(dtype=self.dtype, device=self.device))
        return self.copy_(row.expand(self.shape))

    # Arithmetic that groups and algebras share; add() and mul() are their own.

    def add_(self, other, alpha: float = 1) -> LieTensor:
        """add() in place."""
        return self.copy_(self.add(other, alpha))

    def __add__(self, other) -> LieTensor:
        return self.add(other)

    def __iadd__(self, other) -> LieTensor:
        return self.add_(other)

    def __mul__(self, other):
        return self.mul(other)

    @overload
    def __matmul__(self, other: LieTensor) -> LieTensor: ...

    @overload
    def __matmul__(self, other: Tensor) -> Tensor: ...

    def __matmul__(self, other):
        if isinstance(other, LieTensor):
            return self.mul(other)
        return self.Act(other)

    if TYPE_CHECKING:   # what the types of groups and algebras define, for type checkers: group.py, algebra.py
        @overload
        def __rmatmul__(self, other: LieTensor) -> LieTensor: ...

        @overload
        def __rmatmul__(self, other: Tensor) -> Tensor: ...

        def __rmatmul__(self, other): ...
        operations: type[Operations]
        def Exp(self) -> LieTensor: ...
        def Log(self) -> LieTensor: ...
        def Inv(self) -> LieTensor: ...
        def Act(self, p: Tensor) -> Tensor: ...
        def Adj(self, a: Tensor) -> LieTensor: ...
        def AdjT(self, a: Tensor) -> LieTensor: ...
        def Jinvp(self, p: Tensor) -> LieTensor: ...
        def Jr(self) -> Tensor: ...
        def Jl(self) -> Tensor: ...
        def Jr_inv(self) -> Tensor: ...
        def Jl_inv(self) -> Tensor: ...
        def hat(self) -> Tensor: ...
        def Retr(self, a: Tensor) -> LieTensor: ...
        def between(self, other: LieTensor) -> LieTensor: ...
        def mul(self, other): ...
        def add(self, other, alpha: float = 1) -> LieTensor: ...
        def matrix(self) -> Tensor: ...
        def rotation(self) -> LieTensor: ...
        def translation(self) -> Tensor: ...
        def scale(self) -> Tensor: ...
        def euler(self, eps: float = 2e-4) -> Tensor: ...
        # torch's, which keep the type: see KEEPS_TYPE.
        def view(self, *shape: Any) -> LieTensor: ...
        def copy_(self, other: Tensor, non_blocking: bool = False) -> LieTensor: ...

    def cumops(self, dim: int, ops) -> LieTensor:
        """See pp.cumops."""
        return cumulative.cumops(self, dim, ops)

    def cummul(self, dim: int, left: bool = True) -> LieTensor:
        """See pp.cummul."""
        return cumulative.cummul(self, dim, left)

    def cumprod(self, dim: int, left: bool = True) -> LieTensor:
        """See pp.cumprod."""
        return cumulative.cumprod(self, dim, left)

    def cumops_(self, dim: int, ops) -> LieTensor:
        """cumops() in place."""
        return cumulative.cumops_(self, dim, ops)

    def cummul_(self, dim: int, left: bool = True) -> LieTensor:
        """cummul() in place."""
        return cumulative.cummul_(self, dim, left)

    def cumprod_(self, dim: int, left: bool = True) -> LieTensor:
        """cumprod() in place."""
        return cumulative.cumprod_(self, dim, left)


def rebuild(cls: type[LieTensor], data: Tensor, requires_grad: bool) -> LieTensor:
    """The inverse of __reduce_ex__, also for `torch.load(weights_only=True)`."""
    if hasattr(cls, '_is_param'):
        return cls(data, requires_grad)
    return as_type(data, cls).requires_grad_(requires_grad)
