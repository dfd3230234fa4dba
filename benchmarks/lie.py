"""Lie operations through the public LieTensor methods.

Against PyPose 0.9.5: forward, forward+backward and double backward of every operation. Against torchlie and jitted
jaxlie: the operations that they have. Against the speed of the machine: products and actions beside a copy of as many
bytes, Exp and Log beside a plain loop of sincos in C. What a LieTensor costs beside a plain tensor: an index, a copy,
a shape; and the import of pypose_core.

Forward+backward is `out.backward(ones)` into the leaves' .grad, on both sides; double backward the gradient of the
gradient's square. At one element the graph of torch itself is most of it: the record beside a product of two plain
tensors says how much. Agreement is to 1e-9 in float64 and 2e-4 in float32. PyPose's Sim3 Jacobian is a truncated
series, so its Jinvp agrees with ours to 5e-2 only, near the identity. At 1e6 PyPose runs once; where some of so many
rows are near enough to the identity for its own error to show, both are compared with a float64 truth in those.
"""
import ctypes
import functools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pypose
import torch
from harness import Record, compare, main
from peers.lie_libraries import OPERATIONS as SHARED
from peers.lie_libraries import Jaxlie, Torchlie, pose_as_rows

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
    'euler': lambda X, a, Y, p: X.euler(), 'translation': lambda X, a, Y, p: X.translation(),
    'scale': lambda X, a, Y, p: X.scale(), 'Jr': lambda X, a, Y, p: a.Jr(),
}
#: What PyPose has of a group only: else it warns or fails.
ONLY = {'translation': ('SE3', 'Sim3'), 'scale': ('Sim3',), 'Jr': ('SO3',)}
#: Linear in what they read: nothing to derive twice.
LINEAR = ('rotation', 'translation', 'scale')
VIEW_NOTES = ('a view on both sides; bounded by one narrow of a plain tensor (SO3: by a call of an empty method)',
              "a view on both sides; bounded by one narrow of a plain tensor and its backward; ours also projects the "
              "leaf's gradient to the tangent space, which PyPose leaves out")


def plain(x) -> torch.Tensor:
    return x.tensor() if hasattr(x, 'ltype') else x


@functools.lru_cache(maxsize=2)
def numbers(group: str, B: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """The coordinates of X, a, Y and points."""
    torch.manual_seed(0)
    X, Y = (getattr(pypose, f'randn_{group}')(B, sigma=0.3, dtype=dtype).tensor() for _ in range(2))
    a = getattr(pypose, f'randn_{group.lower()}')(B, sigma=0.3, dtype=dtype).tensor()
    return X, a, Y, torch.randn(B, 3, dtype=dtype)


def inputs(module, group: str, B: int, dtype: torch.dtype, gradient: bool) -> list:
    """X, a, Y of that library and points, the same numbers for both."""
    X, a, Y, p = (x.clone() for x in numbers(group, B, dtype))
    made = [getattr(module, group)(X), getattr(module, group.lower())(a), getattr(module, group)(Y), p]
    return [x.requires_grad_(gradient) for x in made]


def operation_of(module, operation: str) -> Callable:
    if operation == 'Between' and module is pp:
        return lambda X, a, Y, p: X.between(Y)
    return OPERATIONS[operation]


def run(module, group: str, operation: str, B: int, dtype: torch.dtype, order: int) -> Callable:
    """A call of the operation and `order` derivatives by all that it depends on."""
    call = operation_of(module, operation)
    given = inputs(module, group, B, dtype, order > 0)
    if order == 0:
        return lambda: call(*given)
    weight = torch.ones_like(plain(call(*given)))
    if order == 1:
        def both():
            out = call(*given)
            out.backward(weight)
            return out
        return both

    # Only what the result depends on.
    found = torch.autograd.grad(plain(call(*given)).sum(), given, allow_unused=True)
    used = [x for x, g in zip(given, found) if g is not None]

    def twice():
        out = plain(call(*given))
        first = torch.autograd.grad(out, used, weight, create_graph=True)
        torch.autograd.grad(sum(g.square().sum() for g in first), used, allow_unused=True)
        return out.detach()
    return twice


class Nothing:
    def itself(self):
        return self


def view(group: str, operation: str, B: int, dtype: torch.dtype, order: int) -> Callable:
    """What torch alone takes for one of LINEAR: the view of a plain tensor, and the view's backward."""
    width = getattr(pp, group).width
    begin, length = {'rotation': (width - 4 - (group == 'Sim3'), 4), 'translation': (0, 3), 'scale': (7, 1)}[operation]
    t = torch.ones(B, width, dtype=dtype, requires_grad=order > 0)
    weight = torch.ones(B, length, dtype=dtype)
    if order == 0:
        return Nothing().itself if length == width else lambda: t.narrow(-1, begin, length)
    if length == width:
        return lambda: t.backward(weight)
    return lambda: t.narrow(-1, begin, length).backward(weight)


def label(group: str, operation: str, B: int, dtype: torch.dtype, order: int) -> str:
    what = ('forward', 'forward+backward', 'double backward')[order]
    return f'{group} {operation}, {what}, B = {B}, {str(dtype).removeprefix("torch.")}'


def closely(dtype: torch.dtype, tolerance: float | None = None) -> Callable:
    tolerance = tolerance or (1e-9 if dtype == torch.float64 else 2e-4)
    return lambda a, b: torch.allclose(plain(a), plain(b), rtol=tolerance, atol=tolerance)


def truth(group: str, operation: str, X: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Exp(a) as a matrix or J_l(Log X)^-1 a, by torch's matrix exponential in float64; of Log(Exp(a)) a itself."""
    if operation == 'Log(Exp)':
        return a.double()
    algebra = getattr(pp, group.lower())
    x = algebra(a.double()) if operation == 'Exp' else getattr(pp, group)(X.double()).Log()
    if operation == 'Exp':
        return torch.linalg.matrix_exp(x.hat())
    n = a.shape[-1]
    basis, A = algebra(torch.eye(n, dtype=torch.float64)).hat(), x.hat()[:, None]
    ad = ((A @ basis - basis @ A).flatten(2) @ torch.linalg.pinv(basis.flatten(1))).mT
    # exp([[ad, 1], [0, 0]]) has J_l = sum ad^k / (k + 1)! at its upper right.
    block = torch.nn.functional.pad(ad, (0, n, 0, n))
    block[:, :n, n:] = torch.eye(n, dtype=torch.float64)
    J = torch.linalg.matrix_exp(block)[:, :n, n:]
    return torch.linalg.solve(J, a.double())


def judged(group: str, operation: str, B: int, dtype: torch.dtype, ours, theirs, tolerance: float) -> tuple[bool, str]:
    """Whether results agree in every row, or, where they don't, whether ours is the true one; and a note on that."""
    ours, theirs = plain(ours).detach(), plain(theirs).detach()
    differ = ~torch.isclose(ours, theirs, rtol=tolerance, atol=tolerance).all(-1)
    if not differ.any():
        return True, ''
    if operation not in ('Exp', 'Jinvp', 'Log(Exp)'):
        return False, ''
    X, a, _, _ = (x[differ] for x in numbers(group, B, dtype))
    exact = truth(group, operation, X, a)
    rows = [getattr(pp, group)(x[differ].double()).matrix() if operation == 'Exp' else x[differ].double()
            for x in (ours, theirs)]
    errors = [(r - exact).abs().max().item() for r in rows]
    return errors[0] < tolerance, (f'{int(differ.sum())} rows differ, near the identity: from a float64 truth there '
                                   f'ours is off by {errors[0]:.1e}, PyPose by {errors[1]:.1e}')


def once(case: str, *, peer: str, ours: Callable, theirs: Callable, judge: Callable, target: float, note: str = '',
         floor: Callable | None = None) -> Record:
    """compare() for calls of a second and more: the peer's first is its only one, unless it is short.

    Ours runs once to warm up, and its results are dropped before the next call: on a virtual machine memory that has
    not been used for seconds is the host's again, and what it takes to get it back is not the operation's.
    """
    def timed(call):
        start = time.process_time()
        result = call()
        return time.process_time() - start, result
    peer_time, expected = timed(theirs)
    if peer_time < 0.5:
        peer_time = timed(theirs)[0]
    agree, found = judge(ours(), expected)
    times = [timed(ours)[0] for _ in range(3)]
    least = median(timed(floor)[0] for _ in range(3)) if floor else None
    return Record(case, peer, median(times), peer_time, peer_time / median(times), agree, target, found or note, least)


def against_pypose(group: str, operation: str, B: int, dtype: torch.dtype, order: int, rounds: int) -> Record:
    if (group, operation) in FAST and B != 100:
        target = FAST[group, operation][0 if B == 1 else 1]
    else:
        target = 10 if B <= 10_000 else 5
    agree = closely(dtype, 5e-2 if (group, operation) == ('Sim3', 'Jinvp') else None)
    note = VIEW_NOTES[order] if operation in LINEAR else ''
    case = dict(peer='pypose 0.9.5', ours=run(pp, group, operation, B, dtype, order), note=note,
                theirs=run(pypose, group, operation, B, dtype, order), target=2 if order == 2 else target,
                floor=view(group, operation, B, dtype, order) if operation in LINEAR else None)
    if B == 1_000_000:
        tolerance = 5e-2 if (group, operation) == ('Sim3', 'Jinvp') else 1e-9 if dtype == torch.float64 else 2e-4
        return once(label(group, operation, B, dtype, order), **case,
                    judge=lambda a, b: judged(group, operation, B, dtype, a, b, tolerance))
    return compare(label(group, operation, B, dtype, order), rounds=rounds, least=0.004, agree=agree, **case)


def against_the_graph(group: str, operation: str, rounds: int) -> Record:
    """Beside the same round trip of a product of plain tensors: what the graph takes for an operation of no cost."""
    x, y = (torch.ones(1, pp.SE3.width, requires_grad=True) for _ in range(2))
    weight = torch.ones(1, pp.SE3.width)
    return compare(label(group, operation, 1, torch.float32, 1), peer='product of plain tensors', target=0.5,
                   ours=run(pp, group, operation, 1, torch.float32, 1), theirs=lambda: (x * y).backward(weight),
                   agree=lambda a, b: True, rounds=rounds, least=0.004)


def copying(x: torch.Tensor, order: int) -> Callable:
    """Writing results as large as x, and their gradients, where memory for them is there."""
    result, gradient = x.clone(), x.clone()

    def both():
        result.copy_(x)
        gradient.add_(result.copy_(x))
    return both if order else lambda: result.copy_(x)


def against_library(library, group: str, operation: str, B: int, dtype: torch.dtype, order: int) -> Record:
    X, a, Y, p = inputs(pp, group, B, dtype, False)
    given = {'X': X.tensor(), 'Y': Y.tensor(), 'a': a.tensor(), 'p': p}
    theirs = library.call(group, operation, given, {'X': X.matrix(), 'Y': Y.matrix()}, order == 1)
    tolerance = library.tolerance if dtype == torch.float64 else 2e-3   # jaxlie's series near the identity

    def agree(a, b):
        common, mine = library.common(b), pose_as_rows(a)
        if mine.shape != common.shape:   # of forward+backward ours is the storage
            kind = getattr(pp, group)
            mine = kind(mine).matrix()[..., :3, :]
        return torch.allclose(mine.to(common.dtype), common.detach(), rtol=tolerance, atol=tolerance)
    note, floor = '', None
    if operation == 'Inv' and (order or isinstance(library, Torchlie)):
        note = 'bounded by a copy'
        if order:
            note += ' each of elements and gradient, and the sum that torch makes of it and the one before'
        if isinstance(library, Torchlie):
            note = f'of rotation matrices the inverse is a transposed view: torchlie computes nothing for it; {note}'
        floor = copying(given['X'], order)
    return compare(label(group, operation, B, dtype, order), peer=library.name, theirs=theirs, agree=agree, target=1,
                   ours=run(pp, group, operation, B, dtype, order), rounds=3 if B < 1_000_000 else 1, least=0.004,
                   note=note, floor=floor)


def against_copying(group: str, operation: str, B: int, dtype: torch.dtype, rounds: int) -> Record:
    """Beside a copy that reads and writes as many bytes in all."""
    ours = run(pp, group, operation, B, dtype, 0)
    elements = 2 if operation in ('Mul', 'Between') else 1
    read = elements * B * pp.SE3.width + (3 * B if operation == 'Act' else 0)
    block = torch.zeros((read + ours().numel()) // 2, dtype=dtype)
    return compare(label(group, operation, B, dtype, 0), peer='copy of the same bytes', ours=ours,
                   theirs=lambda: block.clone(), agree=lambda a, b: True, target=0.5, rounds=rounds)


def against_narrow(group: str, operation: str, rounds: int) -> Record:
    """Beside the view of a plain tensor that the operation is at the least."""
    t = torch.ones(1, getattr(pp, group).width)
    return compare(label(group, operation, 1, torch.float32, 0), peer='narrow of a plain tensor', target=0.5,
                   ours=run(pp, group, operation, 1, torch.float32, 0), theirs=lambda: t.narrow(-1, 0, 1),
                   agree=lambda a, b: True, rounds=rounds, least=0.004)


LOOP = """#define _GNU_SOURCE
#include <math.h>
void loop32(const float* x, float* s, float* c, long n) { for (long i = 0; i < n; ++i) sincosf(x[i], s + i, c + i); }
void loop64(const double* x, double* s, double* c, long n) { for (long i = 0; i < n; ++i) sincos(x[i], s + i, c + i); }
"""


def sine_loop(angle: torch.Tensor) -> Callable:
    """A plain loop of sincos in C over the angles, into new arrays."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / 'loop.c', Path(folder) / 'loop.so'
        source.write_text(LOOP)
        compiler = shutil.which('cc') or 'gcc'
        subprocess.run([compiler, '-O3', '-shared', '-fPIC', source, '-o', library, '-lm'], check=True)
        loop = getattr(ctypes.CDLL(str(library)), f'loop{8 * angle.element_size()}')

    def call():
        sine, cosine = torch.empty_like(angle), torch.empty_like(angle)
        loop(*(ctypes.c_void_p(t.data_ptr()) for t in (angle, sine, cosine)), ctypes.c_long(angle.numel()))
        return sine
    return call


def against_sines(group: str, operation: str, B: int, dtype: torch.dtype, rounds: int) -> Record:
    """The angles are those of the operation: what the loop takes depends on them."""
    angle = plain(inputs(pp, group, B, dtype, False)[1])[:, 3:].norm(dim=-1)
    return compare(label(group, operation, B, dtype, 0), peer='plain loop of sincos', theirs=sine_loop(angle),
                   ours=run(pp, group, operation, B, dtype, 0), agree=lambda a, b: True, target=1 / 3, rounds=rounds)


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


def large(group: str, operation: str, order: int, dtype: torch.dtype) -> bool:
    """Whether to wait for PyPose at 1e6: what is asked for more than the rest in every way, of the rest some."""
    named = operation in ('Exp', 'Log', 'Jinvp', 'Log(Exp)', 'Between')
    if dtype == torch.float64:
        return order == 0 and (named or operation in ('Mul', 'Act')) or group == 'SE3' and named
    return group == 'SE3' or named or operation in ('Mul', 'Act')


def records(quick: bool) -> Iterator[Record]:
    rounds = 3
    yield importing(rounds)
    yield from small_things(rounds)
    big = 100_000 if quick else 1_000_000
    for operation, dtype in (('Mul', torch.float32), ('Inv', torch.float32), ('Act', torch.float32),
                             ('Between', torch.float64)):
        yield against_copying('SE3', operation, big, dtype, rounds)
    for operation in ('Exp', 'Log'):
        for dtype in (torch.float32, torch.float64):
            yield against_sines('SE3', operation, big, dtype, rounds)
    for operation in ('Exp', 'Log', 'Jinvp', 'Between', 'Mul', 'Inv', 'Act'):
        yield against_the_graph('SE3', operation, rounds)
    for group, operation in (('SE3', 'translation'), ('SE3', 'rotation'), ('Sim3', 'scale')):
        yield against_narrow(group, operation, rounds)
    single = (torch.float32,)
    for library in (Torchlie(), Jaxlie()):
        for B in (1, 10_000) if quick else (1, 100, 10_000, 1_000_000):
            for group in ('SE3',) if quick else ('SO3', 'SE3'):
                for operation in SHARED:
                    for order in (0, 1):
                        for dtype in (torch.float32, torch.float64) if B == 10_000 and not quick else single:
                            yield against_library(library, group, operation, B, dtype, order)
    for B in (1, 10_000) if quick else (1, 100, 10_000, 1_000_000):
        for group in ('SE3',) if quick else GROUPS:
            for operation in OPERATIONS:
                if group not in ONLY.get(operation, GROUPS):
                    continue
                for dtype in single if quick else (torch.float32, torch.float64):
                    for order in (0, 1) if B == 1_000_000 or operation in LINEAR else (0, 1, 2):
                        if B < 1_000_000 or large(group, operation, order, dtype):
                            yield against_pypose(group, operation, B, dtype, order, rounds)


if __name__ == '__main__':
    main(records, __doc__)
