"""LieTensors under torch.func, torch.compile and torch.export."""
import sys
import types

import pytest
import torch
from test_lie_groups import close, random

import pypose_core as pp
from pypose_core.lie.reference import GROUPS


@pytest.fixture(params=list(GROUPS))
def name(request):
    return request.param


def residual(name):
    """Of a twist, through every operation."""
    algebra, group, y = getattr(pp, name.lower()), getattr(pp, name), random(name, seed=1).tensor()
    p = torch.linspace(-1, 1, GROUPS[name].point, dtype=torch.float64)

    def f(x):
        X, Y = algebra(x).Exp(), group(y)
        out = (X @ Y).Log() + X.Jinvp(Y.Adj(algebra(x)))
        return torch.cat([out.tensor(), X.Inv().Act(p), X.between(Y).tensor(), X.matrix().flatten()])
    return f


def test_vmap(name):
    f, x = residual(name), random(name.lower(), 5).tensor()
    close(torch.func.vmap(f)(x), torch.stack([f(row) for row in x]), 1e-13)


def test_forward_and_reverse_jacobians_agree_with_finite_differences(name):
    f, x = residual(name), random(name.lower()).tensor()
    forward, reverse = torch.func.jacfwd(f)(x), torch.func.jacrev(f)(x)
    close(forward, reverse, 1e-12)
    h = 1e-6
    steps = h * torch.eye(x.numel(), dtype=x.dtype)
    close(torch.stack([(f(x + s) - f(x - s)) / (2 * h) for s in steps], -1), reverse, 1e-8)
    out, tangent = torch.func.jvp(f, (x,), (torch.ones_like(x),))
    close(tangent, reverse.sum(-1), 1e-12)


@pytest.mark.parametrize('scale', [1.0, 0.0], ids=['somewhere', 'at the identity'])
def test_hessians_agree(name, scale):
    f, x = residual(name), random(name.lower()).tensor() * scale
    loss = lambda x: f(x).square().sum()   # noqa: E731
    a = torch.func.hessian(loss)(x)
    b = torch.func.jacrev(torch.func.jacrev(loss))(x)
    assert torch.isfinite(a).all()
    close(a, b, 1e-10)


def test_forward_mode_of_autograd(name):
    f, x = residual(name), random(name.lower()).tensor()
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        tangent = torch.autograd.forward_ad.unpack_dual(f(dual)).tangent
    close(tangent, torch.func.jacrev(f)(x).sum(-1), 1e-12)


@pytest.mark.parametrize('transform', ['jacrev', 'jacfwd'])
def test_jacobians_by_lietensors_are_left_tangent(transform):
    X, p = random('SE3', 2), torch.ones(3, dtype=torch.float64)
    seen = []

    def f(X, p):
        seen.append(type(X))
        return X @ p
    J = getattr(pp.func, transform)(f)(X, p)
    assert J.shape == (2, 3, 2, 7) and issubclass(seen[0], pp.SE3)
    close(J[0, :, 0, :3], torch.eye(3, dtype=torch.float64), 1e-14)
    close(J[0, :, 0, 3:6], -pp.vec2skew(X[0] @ p), 1e-14)
    close(J[..., 6], torch.zeros(2, 3, 2, dtype=torch.float64), 0)


def test_retain_ltype_hands_lietensors_to_the_transforms_of_torch():
    X = random('SO3', 3)
    before = torch._functorch.eager_transforms._wrap_tensor_for_grad
    log = GROUPS['SO3'].module.log
    coordinates = torch.func.vmap(torch.func.jacrev(log))(X.tensor())
    with pp.retain_ltype():
        reverse = torch.func.vmap(torch.func.jacrev(lambda X: X.Log().tensor()))(X)
        forward = torch.func.vmap(torch.func.jacfwd(lambda X: X.Log().tensor()))(X)
    assert torch._functorch.eager_transforms._wrap_tensor_for_grad is before
    close(forward, coordinates, 1e-13)
    # jacrev makes a leaf of its argument, and the gradient of a LieTensor leaf is left-tangent.
    close(reverse, GROUPS['SO3'].functions['to_leaf'](X.tensor()[:, None], coordinates), 1e-13)


def test_nothing_of_torch_is_replaced():
    """Neither by the import nor after retain_ltype(): no function in torch's modules or classes is ours."""
    with pp.retain_ltype():
        pass
    spaces = [vars(module) for name, module in list(sys.modules.items()) if name.partition('.')[0] == 'torch']
    spaces += [vars(cls) for cls in (torch.Tensor, torch.nn.Parameter, torch.nn.Module, torch.optim.Optimizer)]
    functions = {f for space in spaces for f in list(space.values()) if type(f) is types.FunctionType}
    assert len(functions) > 1000
    assert not [f for f in functions if 'pypose' in f.__code__.co_filename]


def test_vmap_of_lietensors():
    X, Y = random('SE3', 4), random('SE3', 4, seed=1)
    out = pp.func.vmap(lambda X, Y: X @ Y)(X, Y)
    assert type(out) is pp.SE3
    close(out, X @ Y, 1e-14)


def program(X, a, p):
    """What a PyPose program does with poses."""
    Y = torch.stack([X, X.Retr(a)])[1].view(-1, 7)
    Z = (Y @ X.Inv()).Log().Exp() * X + a
    first = Z[0].clone()
    moved = (Z @ p) * X.shape[0] + first.translation()
    return Z, moved + Z.Adj(a).tensor()[..., :3] + Z.euler() + Z.Jinvp(a)[..., :3]


def step(X, a, p):
    Z = X @ a.Exp()
    return Z, Z.Inv() @ p


@pytest.mark.parametrize('program, backend', [(program, 'eager'), (step, 'inductor')])
def test_compile_takes_whole_programs(program, backend):
    """All of them by the front end, which is where LieTensors are; a short one down to machine code."""
    torch._dynamo.reset()
    X, a, p = random('SE3', 3), random('se3', 3), torch.ones(3, dtype=torch.float64)
    Z, out = program(X, a, p)
    compiled_Z, compiled_out = torch.compile(program, fullgraph=True, backend=backend)(X, a, p)
    assert type(compiled_Z) is pp.SE3
    close(compiled_Z, Z, 1e-12)
    close(compiled_out, out, 1e-12)


@pytest.mark.parametrize('name', ['RxSO3', 'Sim3', 'SE2', 'SE23'])
def test_compile_follows_every_group(name):
    """What the compiler's front end traces in one graph; that graph run as it is. SO3 and SO2 are parts of these."""
    torch._dynamo.reset()
    f, x = residual(name), random(name.lower()).tensor()
    close(torch.compile(f, fullgraph=True, backend='eager')(x), f(x), 1e-12)


def test_compiled_gradients():
    torch._dynamo.reset()
    f = lambda x: pp.se3(x).Exp().Log().tensor()   # noqa: E731
    x = random('se3', 2).tensor().requires_grad_()
    expected, = torch.autograd.grad(f(x).square().sum(), x)
    compiled = torch.compile(f, fullgraph=True, backend='aot_eager')
    found, = torch.autograd.grad(compiled(x).square().sum(), x)
    close(found, expected, 1e-12)


class Alignment(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.T = pp.Parameter(random('SE3'))

    def forward(self, p):
        return pp.SE3(self.T) @ p


def test_compiled_modules_give_their_parameters_left_tangent_gradients():
    torch._dynamo.reset()
    p = torch.ones(3, dtype=torch.float64)
    plain, compiled = Alignment(), Alignment()
    plain(p).square().sum().backward()
    torch.compile(compiled, fullgraph=True, backend='aot_eager')(p).square().sum().backward()
    close(compiled.T.grad, plain.T.grad, 1e-13)


def test_export():
    p = torch.ones(3, dtype=torch.float64)
    module = Alignment()
    exported = torch.export.export(module, (p,), strict=True)
    close(exported.module()(p), module(p), 1e-13)
