"""Scalar expressions as a graph that shares what is equal, and their derivatives.

A node is an operation on earlier nodes. Equal operations on equal operands are one node, constants are folded, and
products with zero and one vanish, so that the derivative of a sparse function is sparse.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

CONSTANT, INPUT = 'constant', 'input'
LOOKUPS = ('lookup', 'lookup_x', 'lookup_y')
"""(x, y, number of a table): the table's value there, and its derivatives; see lookup.py."""

_FOLD: dict[str, Callable[..., float]] = {
    'add': lambda a, b: a + b, 'sub': lambda a, b: a - b, 'mul': lambda a, b: a * b, 'neg': lambda a: -a,
    'div': lambda a, b: a / b if b else math.copysign(math.inf, a) if a else math.nan,
    'sin': math.sin, 'cos': math.cos, 'tan': math.tan, 'exp': math.exp, 'tanh': math.tanh, 'atan': math.atan,
    'sqrt': lambda a: math.sqrt(a) if a >= 0 else math.nan,
    'log': lambda a: math.log(a) if a > 0 else math.nan,
    'atan2': math.atan2, 'max': max, 'min': min, 'abs': abs,
    'greater': lambda a, b: float(a > b), 'select': lambda c, a, b: a if c else b,
}


class Graph:
    """Nodes in the order of their making: the operands of a node come before it."""

    def __init__(self):
        self.ops: list[str] = []
        self.args: list[tuple] = []
        self._known: dict[tuple, int] = {}
        self.tables: list = []
        """The tables that lookups read."""

    def __len__(self) -> int:
        return len(self.ops)

    def _node(self, op: str, args: tuple) -> int:
        key = (op, args)
        index = self._known.get(key)
        if index is None:
            index = self._known[key] = len(self.ops)
            self.ops.append(op)
            self.args.append(args)
        return index

    def constant(self, value: float) -> int:
        return self._node(CONSTANT, (float(value) + 0.0,))

    def input(self, index: int) -> Node:
        return Node(self, self._node(INPUT, (index,)))

    def table(self, table) -> int:
        """The constant by which lookups name a table."""
        if not any(known is table for known in self.tables):
            self.tables.append(table)
        return self.constant(next(k for k, known in enumerate(self.tables) if known is table))

    def value(self, index: int) -> float | None:
        """The number that a node is, or None where it depends on an input."""
        return self.args[index][0] if self.ops[index] == CONSTANT else None

    def make(self, op: str, *args: int) -> int:
        """The node of an operation, simplified."""
        values = [self.value(a) for a in args]
        if op not in LOOKUPS and all(v is not None for v in values):
            return self.constant(_FOLD[op](*values))
        rule = _SIMPLIFY.get(op)
        simpler = rule(self, args, values) if rule else None
        return self._node(op, args) if simpler is None else simpler


def _add(g: Graph, args, values):
    a, b = args
    if values[0] == 0:
        return b
    if values[1] == 0:
        return a
    if g.ops[b] == 'neg':
        return g.make('sub', a, g.args[b][0])
    if g.ops[a] == 'neg':
        return g.make('sub', b, g.args[a][0])
    return g._node('add', (min(a, b), max(a, b)))


def _sub(g: Graph, args, values):
    a, b = args
    if a == b:
        return g.constant(0)
    if values[1] == 0:
        return a
    if values[0] == 0:
        return g.make('neg', b)
    return g.make('add', a, g.args[b][0]) if g.ops[b] == 'neg' else None


def _mul(g: Graph, args, values):
    a, b = args
    if values[1] is not None:
        a, b, values = b, a, values[::-1]
    if values[0] == 0:
        return a
    if values[0] == 1:
        return b
    if values[0] == -1:
        return g.make('neg', b)
    if g.ops[b] == 'neg':
        if values[0] is not None:
            return g.make('mul', g.constant(-values[0]), g.args[b][0])
        return g.make('neg', g.make('mul', a, g.args[b][0]))
    if g.ops[a] == 'neg':
        return g.make('neg', g.make('mul', g.args[a][0], b))
    if values[0] is not None and g.ops[b] == 'mul':
        inner = g.value(g.args[b][0])
        if inner is not None:
            return g.make('mul', g.constant(values[0] * inner), g.args[b][1])
    return g._node('mul', (a, b) if values[0] is not None else (min(a, b), max(a, b)))


def _div(g: Graph, args, values):
    if values[1] is not None and values[1] != 0:
        return g.make('mul', g.constant(1 / values[1]), args[0])
    return args[0] if values[0] == 0 else None


def _neg(g: Graph, args, values):
    (a,) = args
    if g.ops[a] == 'neg':
        return g.args[a][0]
    if g.ops[a] == 'sub':
        return g.make('sub', *reversed(g.args[a]))
    return None


def _select(g: Graph, args, values):
    if values[0] is not None:
        return args[1] if values[0] else args[2]
    return args[1] if args[1] == args[2] else None


_SIMPLIFY = {'add': _add, 'sub': _sub, 'mul': _mul, 'div': _div, 'neg': _neg, 'select': _select}


class Node:
    """A handle on a node, with Python's arithmetic."""

    __slots__ = ('graph', 'index')

    def __init__(self, graph: Graph, index: int):
        self.graph, self.index = graph, index

    def _with(self, other) -> int:
        return other.index if isinstance(other, Node) else self.graph.constant(other)

    def _apply(self, op: str, *args: int) -> Node:
        return Node(self.graph, self.graph.make(op, *args))

    def __add__(self, other):
        return self._apply('add', self.index, self._with(other))

    __radd__ = __add__

    def __sub__(self, other):
        return self._apply('sub', self.index, self._with(other))

    def __rsub__(self, other):
        return self._apply('sub', self._with(other), self.index)

    def __mul__(self, other):
        return self._apply('mul', self.index, self._with(other))

    __rmul__ = __mul__

    def __truediv__(self, other):
        return self._apply('div', self.index, self._with(other))

    def __rtruediv__(self, other):
        return self._apply('div', self._with(other), self.index)

    def __neg__(self):
        return self._apply('neg', self.index)

    def __pow__(self, power):
        exponent = self.graph.value(power.index) if isinstance(power, Node) else float(power)
        if exponent is not None and exponent == int(exponent) and 0 <= abs(exponent) <= 16:
            result = Node(self.graph, self.graph.constant(1))
            for _ in range(int(abs(exponent))):
                result = result * self
            return result if exponent >= 0 else 1 / result
        if exponent == 0.5:
            return self._apply('sqrt', self.index)
        log = self._apply('log', self.index)
        return (log * power)._apply('exp', (log * power).index)

    def unary(self, op: str) -> Node:
        return self._apply(op, self.index)

    def binary(self, op: str, other) -> Node:
        return self._apply(op, self.index, self._with(other))


def needed(graph: Graph, outputs: Iterable[int]) -> list[int]:
    """The nodes that the outputs are made of, in order."""
    seen, stack = set(), list(outputs)
    while stack:
        n = stack.pop()
        if n in seen:
            continue
        seen.add(n)
        if graph.ops[n] not in (CONSTANT, INPUT):
            stack.extend(graph.args[n])
    return sorted(seen)


def _partials(g: Graph, n: int) -> list[tuple[int, int]]:
    """(operand, derivative of node n by it) for each operand that has one."""
    op, args = g.ops[n], g.args[n]
    one = g.constant(1)
    if op == 'add':
        return [(args[0], one), (args[1], one)]
    if op == 'sub':
        return [(args[0], one), (args[1], g.constant(-1))]
    if op == 'neg':
        return [(args[0], g.constant(-1))]
    if op == 'mul':
        return [(args[0], args[1]), (args[1], args[0])]
    if op == 'div':
        inverse = g.make('div', one, args[1])
        return [(args[0], inverse), (args[1], g.make('neg', g.make('mul', n, inverse)))]
    if op == 'atan2':
        y, x = args
        squared = g.make('add', g.make('mul', x, x), g.make('mul', y, y))
        return [(y, g.make('div', x, squared)), (x, g.make('neg', g.make('div', y, squared)))]
    if op in ('max', 'min'):
        first = g.make('greater', *(args if op == 'max' else args[::-1]))
        return [(args[0], first), (args[1], g.make('sub', one, first))]
    if op == 'select':
        zero = g.constant(0)
        return [(args[1], g.make('select', args[0], one, zero)), (args[2], g.make('select', args[0], zero, one))]
    if op == 'greater' or op in LOOKUPS[1:]:     # a table's curvature, which is along diagonals only, is left out
        return []
    if op == 'lookup':
        return [(args[0], g.make('lookup_x', *args)), (args[1], g.make('lookup_y', *args))]
    a = args[0]
    if op == 'sin':
        return [(a, g.make('cos', a))]
    if op == 'cos':
        return [(a, g.make('neg', g.make('sin', a)))]
    if op == 'tan':
        return [(a, g.make('add', one, g.make('mul', n, n)))]
    if op == 'exp':
        return [(a, n)]
    if op == 'log':
        return [(a, g.make('div', one, a))]
    if op == 'sqrt':
        return [(a, g.make('div', g.constant(0.5), n))]
    if op == 'tanh':
        return [(a, g.make('sub', one, g.make('mul', n, n)))]
    if op == 'atan':
        return [(a, g.make('div', one, g.make('add', one, g.make('mul', a, a))))]
    if op == 'abs':
        positive = g.make('greater', a, g.constant(0))
        return [(a, g.make('select', positive, one, g.constant(-1)))]
    raise ValueError(f'no derivative of {op!r}')


def jacobian(graph: Graph, outputs: Sequence[int], inputs: Sequence[int]) -> list[dict[int, int]]:
    """For each output a map from the position of an input to the node of the derivative; zeros are left out."""
    zero = graph.constant(0)
    one = graph.constant(1)
    position = {node: i for i, node in enumerate(inputs)}
    derivatives: dict[int, dict[int, int]] = {}
    for n in needed(graph, outputs):
        if n in position:
            derivatives[n] = {position[n]: one}
            continue
        if graph.ops[n] in (CONSTANT, INPUT):
            continue
        if not any(a in derivatives for a in graph.args[n]):
            continue
        total: dict[int, int] = {}
        for operand, partial in _partials(graph, n):
            for i, d in derivatives.get(operand, {}).items():
                term = graph.make('mul', partial, d)
                if term == zero:
                    continue
                total[i] = graph.make('add', total[i], term) if i in total else term
        derivatives[n] = {i: d for i, d in total.items() if d != zero}
    return [derivatives.get(n, {}) for n in outputs]
