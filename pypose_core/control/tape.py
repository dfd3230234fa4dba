"""Expressions as a tape: a list of instructions on registers that the native interpreter runs for many stages at once.

Layout of an instruction: [operation, target, a, b, c]. Registers hold first the constants, then the inputs, then what
is computed; a register is used again once its value is read for the last time, which keeps the working set in cache.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core.control.expression import CONSTANT, INPUT, Graph, needed

CODES = {name: code for code, name in enumerate((
    'add', 'sub', 'mul', 'div', 'neg', 'fma', 'fms', 'fnma', 'sin', 'cos', 'tan', 'sqrt', 'exp', 'log', 'tanh',
    'atan', 'abs', 'atan2', 'max', 'min', 'greater', 'select', 'lookup', 'lookup_x',
    'lookup_y'))}
"""As in csrc/control/tape.h. fma = a b + c, fms = a b - c, fnma = c - a b."""


@dataclass(frozen=True)
class Tape:
    """A compiled function of `inputs` numbers."""

    code: Tensor
    """(instructions, 5) int32."""
    constants: Tensor
    """Values of the first registers, float64."""
    inputs: Tensor
    """(used inputs, 2) int32: which input goes into which register."""
    outputs: Tensor
    """(outputs that are computed, 2) int32: position in the record, register."""
    fixed_at: Tensor
    """Positions in the record of outputs that are constant, int32."""
    fixed: Tensor
    """Their values, float64; only those other than zero."""
    registers: int
    tables: tuple[Tensor, ...] = ()
    """Numbers that lookups read, shared with the native interpreter."""

    @classmethod
    def empty(cls) -> Tape:
        """Computes nothing: where the functions are evaluated elsewhere."""
        return compile_tape(Graph(), {})

    def packed(self) -> list[Tensor]:
        """As the native solver takes it."""
        return [self.code, self.constants, self.inputs, self.outputs, self.fixed_at, self.fixed,
                torch.tensor([self.registers], dtype=torch.int32), *self.tables]


def _fuse(graph: Graph, order: list[int], outputs: set[int]) -> dict[int, tuple[str, tuple[int, ...]]]:
    """Products that only one sum reads become one instruction with it."""
    uses: dict[int, int] = dict.fromkeys(outputs, 2)
    for n in order:
        if graph.ops[n] not in (CONSTANT, INPUT):
            for a in graph.args[n]:
                uses[a] = uses.get(a, 0) + 1
    result, fused = {}, set()
    for n in reversed(order):
        op, args = graph.ops[n], graph.args[n]
        if op in (CONSTANT, INPUT) or n in fused:
            continue
        if op in ('add', 'sub'):
            for side, other in ((1, 0), (0, 1)):
                m = args[side]
                if graph.ops[m] == 'mul' and uses[m] == 1:
                    fused.add(m)
                    name = 'fma' if op == 'add' else 'fnma' if side == 1 else 'fms'
                    op, args = name, (*graph.args[m], args[other])
                    break
        result[n] = (op, args)
    return result


def compile_tape(graph: Graph, outputs: dict[int, int]) -> Tape:
    """Instructions that write each node of `outputs` (position in the record -> node)."""
    order = needed(graph, outputs.values())
    instructions = _fuse(graph, order, set(outputs.values()))
    constants: list[float] = []
    inputs: list[tuple[int, int]] = []
    register: dict[int, int] = {}
    read = {a for _, args in instructions.values() for a in args} | set(outputs.values())
    for n in order:
        if graph.ops[n] == CONSTANT and n in {a for _, args in instructions.values() for a in args}:
            register[n] = len(constants)
            constants.append(graph.args[n][0])
    for n in order:
        if graph.ops[n] == INPUT and n in read:
            register[n] = len(constants) + len(inputs)
            inputs.append((graph.args[n][0], register[n]))
    pinned = len(constants) + len(inputs)
    last: dict[int, int] = {}
    for n in order:
        if n in instructions:
            for a in instructions[n][1]:
                last[a] = n
    keep = set(outputs.values())
    free: list[int] = []
    count, code = pinned, []
    for n in order:
        if n not in instructions:
            continue
        op, args = instructions[n]
        sources = [register[a] for a in args]
        for a in set(args):     # the target may take an operand's register: the interpreter reads before it writes
            if last[a] == n and register[a] >= pinned and a not in keep:
                free.append(register[a])
        if free:
            register[n] = free.pop()
        else:
            register[n], count = count, count + 1
        code.append([CODES[op], register[n], *sources, *[0] * (3 - len(sources))])
    computed = [(at, register[n]) for at, n in outputs.items() if graph.ops[n] != CONSTANT]
    fixed = [(at, graph.args[n][0]) for at, n in outputs.items() if graph.ops[n] == CONSTANT and graph.args[n][0] != 0]

    def pairs(rows, width):
        return torch.tensor(rows, dtype=torch.int32).reshape(-1, width)
    return Tape(pairs(code, 5), torch.tensor(constants, dtype=torch.float64), pairs(inputs, 2), pairs(computed, 2),
                torch.tensor([at for at, _ in fixed], dtype=torch.int32),
                torch.tensor([v for _, v in fixed], dtype=torch.float64), count,
                tuple(table.data for table in graph.tables))
