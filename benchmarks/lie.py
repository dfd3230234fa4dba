"""Lie operations through the public LieTensor methods.

Against PyPose 0.9.5: forward, forward+backward and double backward of every operation. Against the speed of the
machine: products and actions beside a copy of as many bytes, Exp and Log beside a loop of sines and cosines.
What a LieTensor costs beside a plain tensor: an index, a copy, a shape; and the import of pypose_core.

Agreement is to 1e-9 in float64 and 2e-4 in float32. PyPose's Sim3 Jacobian is a truncated series, so its Jinvp
agrees with ours to 5e-2 only, near the identity.
"""
import subprocess
import sys
from collections.abc import Callable, Iterator
from statistics import median

import pypose
import torch
from harness import Record, compare, main

import pypose_core as pp

GROUPS = ('SO3', 'SE3', 'Sim3')
#: Asked for more than of the others: at one element, and at 1e4 and 1e6.
FAST = {('SE3', operation): (40, 15) for operation in ('Exp', 'Log', 'Jinvp', 'Log(Exp)', 'Between')}
OPERATIONS: dict[str, Callable] = {
    'Exp': lambda X, a, Y, p: a.Exp(), 'Log': lambda X, a, Y, p: X.Log(),
    'Log(Exp)': lambda X, a, Y, p: a.Exp().Log(), 'Inv': lambda X, a, Y, p: X.Inv(),
    'Mul': lambda X, a, Y, p: X @ Y, 'Between': lambda X, a, Y, p: X.Inv() @ Y,
    'Act': lambda X, a, Y, p: X.Act(p), 'Adj': lambda X, a, Y, p: X.Adj(a), 'AdjT': lambda X, a, Y, p: X.AdjT(a),
    'Jinvp': lambda X, a, Y, p: X.Jinvp(a), 'Retr': lambda X, a, Y, p: X.Retr(a), 'add': lambda X, a, Y, p: X + a,
    'matrix': lambda X, a, Y, p: X.matrix(), 'rotation': lambda X, a, Y, p: X.rotation(),
    'euler': lambda X, a, Y, p: X.euler(),
}


def plain(x) -> torch.Tensor:
    return x.tensor() if hasattr(x, 'ltype') else x


def inputs(module, group: str, B: int, dtype: torch.dtype, gradient: bool) -> list:
    """X, a, Y of that library and points, the same numbers for both."""
    torch.manual_seed(0)
    X, Y = (getattr(pypose, f'randn_{group}')(B, sigma=0.3, dtype=dtype).tensor() for _ in range(2))
    a = getattr(pypose, f'randn_{group.lower()}')(B, sigma=0.3, dtype=dtype).tensor()
    p = torch.randn(B, 3, dtype=dtype)
    made = [getattr(module, group)(X), getattr(module, group.lower())(a), getattr(module, group)(Y), p]
    return [x.requires_grad_(gradient) for x in made]


def run(module, group: str, operation: str, B: int, dtype: torch.dtype, order: int) -> Callable:
    """A call of the operation and `order` derivatives by all that it depends on."""
    call = OPERATIONS[operation]
    if operation == 'Between' and module is pp:
        call = lambda X, a, Y, p: X.between(Y)   # noqa: E731
    arguments = inputs(module, group, B, dtype, order > 0)
    if order == 0:
        return lambda: plain(call(*arguments))

    # Only what the result depends on, and a weight that is there already: the time is the operation's.
    found = torch.autograd.grad(plain(call(*arguments)).sum(), arguments, allow_unused=True)
    arguments_used = [x for x, g in zip(arguments, found) if g is not None]
    weight = torch.ones_like(plain(call(*arguments)))

    def derivatives():
        out = plain(call(*arguments))
        first = torch.autograd.grad(out, arguments_used, weight, create_graph=order == 2)
        if order == 2:
            torch.autograd.grad(sum(g.square().sum() for g in first), arguments_used, allow_unused=True)
        return out.detach()
    return derivatives


def against_pypose(group: str, operation: str, B: int, dtype: torch.dtype, order: int, rounds: int) -> Record:
    what = ('forward', 'forward+backward', 'double backward')[order]
    tolerance = 1e-9 if dtype == torch.float64 else 2e-4
    if group == 'Sim3' and operation == 'Jinvp':
        tolerance = 5e-2
    if (group, operation) in FAST and B != 100:
        target = FAST[group, operation][0 if B == 1 else 1]
    else:
        target = 10 if B <= 10_000 else 5
    name = 'float32' if dtype == torch.float32 else 'float64'
    return compare(f'{group} {operation}, {what}, B = {B}, {name}', peer='pypose 0.9.5', rounds=rounds,
                   ours=run(pp, group, operation, B, dtype, order),
                   theirs=run(pypose, group, operation, B, dtype, order), target=2 if order == 2 else target,
                   agree=lambda a, b: torch.allclose(a, b, rtol=tolerance, atol=tolerance), least=0.005)


def against_copying(group: str, operation: str, B: int, rounds: int) -> Record:
    """Beside a copy that reads and writes as many bytes in all."""
    ours = run(pp, group, operation, B, torch.float32, 0)
    read = {'Mul': 2, 'Inv': 1, 'Act': 1}[operation] * B * pp.SE3.width + (3 * B if operation == 'Act' else 0)
    block = torch.zeros((read + ours().numel()) // 2)
    return compare(f'{group} {operation}, forward, B = {B}, float32', peer='copy of the same bytes', ours=ours,
                   theirs=lambda: block.clone(), agree=lambda a, b: True, target=0.5, rounds=rounds)


def against_sines(group: str, operation: str, B: int, rounds: int) -> Record:
    angle = torch.randn(B, dtype=torch.float64)
    return compare(f'{group} {operation}, forward, B = {B}, float64', peer='sin and cos of as many angles',
                   ours=run(pp, group, operation, B, torch.float64, 0), theirs=lambda: (angle.sin(), angle.cos()),
                   agree=lambda a, b: True, target=1 / 3, rounds=rounds)


def small_things(rounds: int) -> Iterator[Record]:
    X = pp.randn_SE3(10)
    t = X.tensor().clone()
    for case, ours, theirs in (('X[0]', lambda: X[0], lambda: t[0]), ('X.shape', lambda: X.shape, lambda: t.shape),
                               ('X.clone()', lambda: X.clone(), lambda: t.clone())):
        yield compare(case, peer='plain tensor', ours=ours, theirs=theirs, agree=lambda a, b: True, target=1 / 3,
                      rounds=rounds)


def importing(rounds: int) -> Record:
    code = ('import time, torch; t = time.perf_counter(); import pypose_core; '
            'print(time.perf_counter() - t)')
    times = [float(subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True,
                                  check=True).stdout) for _ in range(rounds)]
    return Record('import pypose_core, after torch', '0.3 s asked', median(times), 0.3, 0.3 / median(times), True, 1)


def records(quick: bool) -> Iterator[Record]:
    rounds = 3 if quick else 5
    yield importing(rounds)
    yield from small_things(rounds)
    for B in (1, 10_000) if quick else (1, 100, 10_000, 1_000_000):
        for group in ('SE3',) if quick else GROUPS:
            for operation in OPERATIONS:
                few = 3 if B == 1_000_000 else rounds
                for order in (0, 1) if B == 1_000_000 or operation not in ('Exp', 'Log', 'Mul', 'Act') else (0, 1, 2):
                    for dtype in (torch.float32,) if B == 1_000_000 or quick else (torch.float32, torch.float64):
                        yield against_pypose(group, operation, B, dtype, order, few)
    B = 100_000 if quick else 1_000_000
    for operation in ('Mul', 'Inv', 'Act'):
        yield against_copying('SE3', operation, B, rounds)
    for operation in ('Exp', 'Log'):
        yield against_sines('SE3', operation, B, rounds)


if __name__ == '__main__':
    main(records, __doc__)
