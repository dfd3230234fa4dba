"""The native kernels agree with the reference, whatever the shapes, strides and dtypes."""
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import pypose_core as pp
from pypose_core import native
from pypose_core.lie.dispatch import BINARY, UNARY
from pypose_core.lie.reference import GROUPS

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}
pytestmark = pytest.mark.skipif(not native.available, reason='native kernels are not built')


@pytest.fixture(params=list(GROUPS))
def name(request):
    return request.param


def operator(name, operation):
    return getattr(torch.ops.pypose, f'{name}_{operation}')


def operands(name, operation, left=(), right=(), dtype=torch.float64):
    """Elements and vectors of those batch shapes."""
    group, generator = GROUPS[name], torch.Generator().manual_seed(0)

    def randn(shape, n):
        return torch.randn(*shape, n, generator=generator, dtype=torch.float64)
    x = randn(left, group.dof)
    first = x if operation in ('exp', 'jr') else group.functions['exp'](x)
    if operation in UNARY:
        return [first.to(dtype)]
    if operation in ('mul', 'between'):
        second = group.functions['exp'](randn(right, group.dof))
    else:
        width = {'act': group.point, 'act_homogeneous': group.point + 1, 'to_leaf': group.width}.get(
            operation, group.dof)
        second = randn(right, width)
    return [first.to(dtype), second.to(dtype)]


def agree(name, operation, tensors, tolerance):
    """Values and gradients, of operands as they are strided."""
    values, gradients = [], []
    for f in (operator(name, operation), GROUPS[name].functions[operation]):
        inputs = [t.detach().requires_grad_() for t in tensors]
        out = f(*inputs)
        weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
        values.append(out)
        gradients.append(torch.autograd.grad(out, inputs, weight))
    assert values[0].dtype == values[1].dtype and values[0].shape == values[1].shape
    assert torch.allclose(values[0], values[1], rtol=tolerance, atol=tolerance)
    for ours, reference, t in zip(*gradients, tensors):
        assert ours.shape == t.shape and ours.dtype == t.dtype
        assert torch.allclose(ours, reference, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
@pytest.mark.parametrize('operation', UNARY)
def test_unary_kernels(name, operation, dtype):
    for shape in ((), (1,), (0,), (7,), (2, 3), (2, 0, 3)):
        agree(name, operation, operands(name, operation, shape, dtype=dtype), TOLERANCE[dtype])
    x, = operands(name, operation, (4, 5), dtype=dtype)
    strided = torch.stack([x, x], -1)[..., 0]
    for view in (x.transpose(0, 1), x[::2, 1:4], x[:1].expand(3, 5, -1), strided, x.flip(0)):
        agree(name, operation, [view], TOLERANCE[dtype])


SHAPES = [((), ()), ((3,), ()), ((), (3,)), ((3, 1), (4,)), ((2, 1, 3), (5, 1)), ((0,), (1,)), ((2, 3), (2, 3)),
          ((2, 1, 3), (1, 4, 3))]


@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
@pytest.mark.parametrize('operation', BINARY)
def test_binary_kernels(name, operation, dtype):
    for left, right in SHAPES:
        agree(name, operation, operands(name, operation, left, right, dtype), TOLERANCE[dtype])
    x, y = operands(name, operation, (4, 5), (4, 5), dtype)
    for a, b in ((x.transpose(0, 1), y[0][:, None]), (x[::2, 1:4], y[1::2, 2:5]),
                 (torch.stack([x, x], -1)[..., 1], y), (x, y[:, :1].expand(4, 5, -1))):
        agree(name, operation, [a, b], TOLERANCE[dtype])


MANY = [((40,), (40,)), ((40,), ()), ((), (40,)), ((3, 40), (40,)), ((2, 1, 21), (4, 1)), ((37, 1), (1, 19))]


@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
@pytest.mark.parametrize('operation', UNARY + BINARY)
def test_rows_taken_many_at_a_time_are_those_taken_one_by_one(name, operation, dtype):
    for left, right in MANY:
        agree(name, operation, operands(name, operation, left, right, dtype), TOLERANCE[dtype])
    tensors = operands(name, operation, (43, 2), (43, 2), dtype)
    for view in (lambda t: t[::2, 0], lambda t: t.transpose(0, 1), lambda t: torch.cat([t, t], -1)[..., t.shape[-1]:],
                 lambda t: torch.stack([t, t], -1)[..., 0], lambda t: t[:1].expand(40, 2, -1)):
        agree(name, operation, [view(t) for t in tensors], TOLERANCE[dtype])


@pytest.mark.parametrize('operation', ['exp', 'jr', 'log', 'jinvp', 'euler', 'retract'])
def test_rows_of_any_angle_lie_side_by_side(name, operation):
    """Zero, tiny, large and huge angles among rows that are computed together."""
    group = GROUPS[name]
    lo = group.rotation[0]
    angles = torch.tensor([0, 1e-9, 1e-4, 0.3, 1, 1.6, 2.5, 3.1, 3.2, 4, 6.2, 6.4, 9, 31, 500, 8000, 1e5] * 3)
    x, *others = operands(name, 'exp', (51,)) + operands(name, operation, (51,), (51,))[1:]
    width = 1 if group.point == 2 else 3
    x[:, lo:lo + width] *= (angles / x[:, lo:lo + width].norm(dim=-1))[:, None]
    first = x if operation in ('exp', 'jr') else group.functions['exp'](x)
    found = operator(name, operation)(first, *others)
    one_by_one = torch.stack([operator(name, operation)(*row) for row in zip(first, *others)])
    near = angles < (40 if name == 'Sim3' else 1e6)   # beyond, Sim3's reference is inaccurate
    reference = group.functions[operation](first, *others)
    assert torch.allclose(found[near], reference[near], rtol=1e-9, atol=1e-9)
    assert torch.allclose(found, one_by_one, rtol=1e-10, atol=1e-10)   # the rounding of 1e5 rad


@pytest.mark.parametrize('operation', ['exp', 'log', 'euler', 'retract'])
def test_a_row_that_is_not_a_number_spoils_no_other(name, operation):
    first, *others = operands(name, operation, (51,), (51,))
    spoilt = first.clone()
    spoilt[20] = float('nan')
    found, expected = operator(name, operation)(spoilt, *others), operator(name, operation)(first, *others)
    assert found[20].isnan().any()
    others = torch.arange(51) != 20
    assert torch.allclose(found[others], expected[others], rtol=1e-13, atol=1e-13)


def second_derivatives(f, tensors):
    inputs = [t.detach().requires_grad_() for t in tensors]
    out = f(*inputs)
    first = torch.autograd.grad(out, inputs, torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape),
                                create_graph=True)
    total = sum((torch.linspace(1, 2, g.numel(), dtype=g.dtype).view(g.shape) * g).sum() for g in first)
    if not total.requires_grad:
        return [torch.zeros_like(t) for t in tensors]
    return torch.autograd.grad(total, inputs, materialize_grads=True)


@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
@pytest.mark.parametrize('operation', UNARY + BINARY)
def test_second_derivatives(name, operation, dtype):
    for left, right in (((5,), (5,)), ((), ()), ((3, 1), (2,)), ((0,), (1,))):
        tensors = operands(name, operation, left, right, dtype)
        native_ones = second_derivatives(operator(name, operation), tensors)
        for ours, reference in zip(native_ones, second_derivatives(GROUPS[name].functions[operation], tensors)):
            assert torch.allclose(ours, reference, rtol=50 * TOLERANCE[dtype], atol=50 * TOLERANCE[dtype])


@pytest.mark.parametrize('operation', ['exp', 'log', 'jinvp', 'jr'])
@pytest.mark.parametrize('angle', [0.0, 1e-8, 1e-6, 1e-3, 1e-1, 2.0, 3.0, 3.1415])
def test_second_derivatives_at_every_angle(name, operation, angle):
    tensors = operands(name, operation)
    x = operands(name, 'exp')[0]
    lo, width = GROUPS[name].rotation[0], 1 if GROUPS[name].point == 2 else 3
    x[lo:lo + width] *= angle / x[lo:lo + width].norm()
    tensors[0] = x if operation in ('exp', 'jr') else GROUPS[name].functions['exp'](x)
    found = second_derivatives(operator(name, operation), tensors)
    for ours, reference in zip(found, second_derivatives(GROUPS[name].functions[operation], tensors)):
        assert torch.allclose(ours, reference, rtol=1e-9, atol=1e-9)


def test_operands_that_depend_on_each_other(name):
    x = operands(name, 'exp', (3,))[0].requires_grad_()

    def f(x):
        X = operator(name, 'exp')(x)
        return operator(name, 'jinvp')(operator(name, 'mul')(X, operator(name, 'exp')(x.sin())), x * x)
    assert torch.autograd.gradcheck(f, x)
    assert torch.autograd.gradgradcheck(f, x)
    total = torch.autograd.grad(f(x).square().sum(), x, create_graph=True)[0].square().sum()
    third, = torch.autograd.grad(torch.autograd.grad(total, x, create_graph=True)[0].square().sum(), x)
    step = 1e-5 * torch.ones_like(x)

    def second(x):
        first, = torch.autograd.grad(f(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0].square().sum()
    difference = (second(x + step) - second(x - step)) / 2e-5
    assert third.sum().item() == pytest.approx(difference.item(), rel=1e-5)


def test_batched_gradients_of_gradients():
    """is_grads_batched maps over the native nodes."""
    x = operands('SE3', 'exp')[0].requires_grad_()
    first, = torch.autograd.grad(operator('SE3', 'exp')(x).square().sum(), x, create_graph=True)
    rows = torch.autograd.grad(first, x, torch.eye(6, dtype=x.dtype), is_grads_batched=True)[0]
    reference = torch.func.hessian(lambda x: GROUPS['SE3'].functions['exp'](x).square().sum())(x.detach())
    assert torch.allclose(rows, reference, atol=1e-11)


def test_many_rows_are_shared_out_to_threads(name):
    for operation in ('exp', 'mul'):
        agree(name, operation, operands(name, operation, (40000,), (40000,)), 1e-10)
    agree(name, 'act', operands(name, 'act', (200, 1), (201,)), 1e-9)


def test_large_results_are_those_of_their_parts():
    """From 4 MiB on results lie on other pages of memory."""
    X, Y = operands('SE3', 'mul', (100_000,), (100_000,))
    whole = operator('SE3', 'mul')(X, Y)
    assert whole.nbytes > 4 << 20
    assert torch.equal(whole, torch.cat([operator('SE3', 'mul')(x, y) for x, y in zip(X.chunk(8), Y.chunk(8))]))


@pytest.mark.parametrize('low', [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_single(low):
    x, p = operands('SE3', 'act', (5,), (5,), low)
    x.requires_grad_()
    out = operator('SE3', 'act')(x, p)
    assert out.dtype == low
    assert torch.equal(out, operator('SE3', 'act')(x.float(), p.float()).to(low))
    out.sum().backward()
    assert x.grad.dtype == low


def test_mixed_dtypes_are_promoted_and_each_gets_its_own_gradient():
    X = operands('SE3', 'act', (5,))[0].float().requires_grad_()
    p = torch.ones(3, dtype=torch.float64, requires_grad=True)
    out = operator('SE3', 'act')(X, p)
    out.sum().backward()
    assert (out.dtype, X.grad.dtype, p.grad.dtype) == (torch.float64, torch.float32, torch.float64)


def test_mistakes_are_said_in_words():
    with pytest.raises(RuntimeError, match='last dimension of the first argument must be 7'):
        operator('SE3', 'log')(torch.zeros(6))
    with pytest.raises(RuntimeError, match='floating dtype'):
        operator('SO3', 'log')(torch.zeros(4, dtype=torch.int64))
    with torch.autograd.forward_ad.dual_level(), pytest.raises(RuntimeError, match='forward-mode'):
        operator('SO3', 'log')(torch.autograd.forward_ad.make_dual(torch.ones(4), torch.ones(4)))


@pytest.mark.parametrize('operation', ['exp', 'jr', 'act'])
def test_registration_passes_the_checks_of_torch(name, operation):
    inputs = [t.requires_grad_() for t in operands(name, operation, (3, 1), (2,))]
    torch.library.opcheck(operator(name, operation).default, inputs,
                          test_utils=('test_schema', 'test_autograd_registration', 'test_faketensor'))


@pytest.mark.parametrize('operation', ['exp', 'mul', 'act', 'jinvp'])
def test_vmap_rules(name, operation):
    f, reference = operator(name, operation), GROUPS[name].functions[operation]
    tensors = operands(name, operation, (4, 3), (4, 3))
    assert torch.allclose(torch.func.vmap(f)(*tensors), reference(*tensors), atol=1e-12)
    if len(tensors) == 2:
        x, y = tensors
        out = torch.func.vmap(f, (1, None))(x, y[0, 0])
        assert torch.allclose(out, reference(x.transpose(0, 1), y[0, 0]), atol=1e-12)
        out = torch.func.vmap(f, (None, 0))(x[0], y[:, 0])
        assert torch.allclose(out, reference(x[0], y[:, :1]), atol=1e-12)
    gradient = torch.func.vmap(torch.func.grad(lambda *t: f(*t).sum()))(*tensors)
    assert torch.allclose(gradient, torch.func.vmap(torch.func.grad(lambda *t: reference(*t).sum()))(*tensors),
                          atol=1e-11)


def test_compiled_calls_of_the_operators():
    torch._dynamo.reset()
    x = operands('SE3', 'exp', (5,))[0]
    f = torch.compile(lambda x: torch.ops.pypose.SE3_log(torch.ops.pypose.SE3_exp(2 * x)), fullgraph=True,
                      backend='aot_eager')
    assert torch.allclose(f(x), GROUPS['SE3'].functions['log'](GROUPS['SE3'].functions['exp'](2 * x)), atol=1e-12)


def test_the_gil_is_released():
    x = torch.randn(2_000_000, 7)
    turns, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            turns[0] += 1
            time.sleep(1e-4)
    thread = threading.Thread(target=count)
    thread.start()
    before = turns[0]
    for _ in range(5):
        torch.ops.pypose.SE3_log(x)
    during = turns[0] - before
    stop.set()
    thread.join()
    assert during > 20


def test_without_the_kernels_everything_passes_on_the_reference():
    """A selection here, in a process that has them switched off; all of it by PYPOSE_NATIVE=0 make test."""
    code = '''
import torch, pypose_core as pp
from pypose_core import native
assert not native.available
X = pp.Parameter(pp.randn_SE3(3, dtype=torch.float64))
((X @ X.Inv() @ X).Log().tensor().square().sum() + (X @ torch.ones(3)).sum()).backward()
with torch.no_grad():
    X.add_(X.grad, alpha=-0.1)
print(X.grad.shape, (X + pp.randn_se3(3, dtype=torch.float64)).euler().shape)
'''
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env={'PYPOSE_NATIVE': '0'},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == 'torch.Size([3, 7]) torch.Size([3, 3])'


@pytest.mark.skipif(shutil.which('nvcc') is None, reason='no CUDA compiler')
@pytest.mark.parametrize('group', ['so3', *(pytest.param(group, marks=pytest.mark.slow)
                                           for group in ('se3', 'rxso3', 'sim3', 'so2', 'se2', 'se23'))])
def test_the_same_row_functions_compile_for_cuda(group, tmp_path):
    sources = Path(pp.__file__).parent / 'csrc'
    subprocess.run(['nvcc', '-std=c++20', '-O1', '--expt-relaxed-constexpr', '-arch=sm_90', f'-I{sources}', '-c',
                    sources / 'lie' / f'kernels_{group}.cu', '-o', tmp_path / 'kernels.o'], check=True)
