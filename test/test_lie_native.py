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


def test_many_rows_are_shared_out_to_threads(name):
    for operation in ('exp', 'mul'):
        agree(name, operation, operands(name, operation, (40000,), (40000,)), 1e-10)
    agree(name, 'act', operands(name, 'act', (200, 1), (201,)), 1e-9)


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
    x = torch.randn(1_000_000, 7, dtype=torch.float64)
    turns, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            turns[0] += 1
            time.sleep(1e-4)
    thread = threading.Thread(target=count)
    thread.start()
    before = turns[0]
    for _ in range(3):
        torch.ops.pypose.Sim3_jr(x)
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
steps = torch.optim.Adam([X]); steps.step()
print(X.grad.shape, (X + pp.randn_se3(3, dtype=torch.float64)).euler().shape)
'''
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env={'PYPOSE_NATIVE': '0'},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == 'torch.Size([3, 7]) torch.Size([3, 3])'


@pytest.mark.skipif(shutil.which('nvcc') is None, reason='no CUDA compiler')
@pytest.mark.parametrize('group', ['so3', 'se2'])
def test_the_same_row_functions_compile_for_cuda(group, tmp_path):
    sources = Path(pp.__file__).parent / 'csrc'
    subprocess.run(['nvcc', '-std=c++20', '-O1', '--expt-relaxed-constexpr', '-arch=sm_90', f'-I{sources}', '-c',
                    sources / 'lie' / f'kernels_{group}.cu', '-o', tmp_path / 'kernels.o'], check=True)
