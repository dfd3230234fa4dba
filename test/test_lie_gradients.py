"""Derivatives of every operation are true, to any order, at every point; leaves get left-tangent ones."""
import math

import mpmath
import pytest
import torch
from test_lie_groups import random, twist
from torch.autograd import gradcheck, gradgradcheck

import pypose_core as pp
from pypose_core.lie.reference import GROUPS

ANGLES = [0.0, 1e-8, 1e-4, 1e-2, 1e-1, 2.0, math.pi - 1e-6, math.pi, 2 * math.pi]


@pytest.fixture(params=list(GROUPS))
def name(request):
    return request.param


def leaf(x):
    return x.tensor().detach().clone().requires_grad_()


UNARY = {'Exp': True, 'Log': False, 'Inv': False, 'matrix': False, 'Jr': True}


@pytest.mark.parametrize('operation', UNARY)
def test_unary_gradients(name, operation):
    cls = getattr(pp, name.lower() if UNARY[operation] else name)
    x = leaf(random(cls.__name__, 2))

    def f(x):
        out = getattr(cls(x), operation)()
        return out.tensor() if isinstance(out, pp.LieTensor) else out
    assert gradcheck(f, x)
    assert gradgradcheck(f, x, atol=1e-4)


BINARY = ['Mul', 'between', 'Act', 'Act homogeneous', 'Adj', 'AdjT', 'Jinvp', 'Retr']


@pytest.mark.parametrize('operation', BINARY)
def test_binary_gradients_with_broadcasting(name, operation):
    group, cls = GROUPS[name], getattr(pp, name)
    X = leaf(random(name, 2, 1))
    if operation in ('Mul', 'between'):
        y, wrap = leaf(random(name, 3, seed=1)), cls
    else:
        width = {'Act': group.point, 'Act homogeneous': group.point + 1}.get(operation, group.dof)
        y = torch.linspace(-1, 1, 3 * width, dtype=torch.float64).view(3, width).requires_grad_()
        wrap = torch.clone

    def f(X, y):
        out = getattr(cls(X), operation.split()[0])(wrap(y))
        return out.tensor() if isinstance(out, pp.LieTensor) else out
    assert gradcheck(f, (X, y))
    assert gradgradcheck(f, (X, y), atol=1e-4)


@pytest.mark.parametrize('angle', ANGLES)
@pytest.mark.parametrize('operation', ['Log', 'Jinvp', 'Jr'])
@pytest.mark.parametrize('name', ['SE3', 'Sim3', 'SE2', 'SE23'])
def test_three_derivatives_are_finite_and_right_at_every_angle(name, operation, angle):
    """Along a line x + s d: each derivative in s against central differences of the one before."""
    algebra, group = getattr(pp, name.lower()), getattr(pp, name)
    x = twist(name, angle).tensor()
    d = torch.linspace(-0.6, 0.9, x.numel(), dtype=torch.float64)
    weight = torch.linspace(0.5, 1.5, 100, dtype=torch.float64)
    X = group(algebra(x).Exp().tensor())

    def f(s):
        if operation == 'Jr':
            out = algebra(x + s[:, None] * d).Jr()
        else:
            step = algebra(s[:, None] * d).Exp() @ X
            out = step.Log() if operation == 'Log' else step.Jinvp(d)
        out = (out.tensor() if isinstance(out, pp.LieTensor) else out).flatten(1)
        return (out * weight[:out.shape[-1]]).sum(-1)

    h = 1e-5
    s = torch.tensor([-h, 0.0, h], dtype=torch.float64, requires_grad=True)
    orders = [f(s)]
    for _ in range(3):
        orders.append(torch.autograd.grad(orders[-1].sum(), s, create_graph=True)[0])
    assert all(torch.isfinite(o).all() for o in orders)
    if 3 < angle < 4 and operation in ('Log', 'Jinvp'):
        return   # Log jumps within h: no differences to compare with
    for lower, higher in zip(orders, orders[1:]):
        difference = ((lower[2] - lower[0]) / (2 * h)).item()
        assert higher[1].item() == pytest.approx(difference, rel=1e-6, abs=1e-6)


def three_derivatives(f):
    """f(0) and its first three derivatives, of f: scalar -> scalar."""
    s = torch.zeros((), dtype=torch.float64, requires_grad=True)
    orders = [f(s)]
    for _ in range(3):
        orders.append(torch.autograd.grad(orders[-1], s, create_graph=True)[0])
    return [o.detach() for o in orders]


def derivatives_of_matrix_exponential(A, B):
    """exp(A + s B) and its first three derivatives by s at 0: blocks of the exponential of one block matrix.

    Source: Najfeld and Havel, Derivatives of the matrix exponential and their computation, 1995.
    """
    n = A.shape[-1]
    block = torch.kron(torch.eye(4, dtype=A.dtype), A) + torch.kron(torch.ones(4, 4, dtype=A.dtype).tril(1).triu(1), B)
    first_row = torch.linalg.matrix_exp(block)[:n]
    return [math.factorial(k) * first_row[:, k * n:(k + 1) * n] for k in range(4)]


def test_derivatives_of_the_matrix_exponential_match_mpmath():
    A, B = twist('SE2', 1e-4).hat(), twist('SE2', 2.0).hat() / 2
    with mpmath.workdps(30):
        block = mpmath.zeros(12)
        for i in range(4):
            for r in range(3):
                for c in range(3):
                    block[3 * i + r, 3 * i + c] = A[r, c].item()
                    if i < 3:
                        block[3 * i + r, 3 * i + 3 + c] = B[r, c].item()
        wanted = mpmath.expm(block, method='taylor')
    for k, found in enumerate(derivatives_of_matrix_exponential(A, B)):
        exact = [[float(math.factorial(k) * wanted[r, 3 * k + c]) for c in range(3)] for r in range(3)]
        assert torch.allclose(found, torch.tensor(exact, dtype=torch.float64), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize('angle', ANGLES)
def test_three_derivatives_of_exp_are_those_of_the_matrix_exponential(name, angle):
    """Also where the logarithm of the scale is zero or nearly."""
    algebra, x = getattr(pp, name.lower()), twist(name, angle).tensor()
    d = torch.linspace(-0.6, 0.9, x.numel(), dtype=torch.float64)
    for log_scale in (0.0, 1e-8) if name in ('RxSO3', 'Sim3') else (None,):
        if log_scale is not None:
            x[-1] = log_scale
        truth = derivatives_of_matrix_exponential(algebra(x).hat(), algebra(d).hat())
        weight = torch.linspace(0.5, 1.5, truth[0].numel(), dtype=torch.float64).view_as(truth[0])
        found = three_derivatives(lambda s, weight=weight: (algebra(x + s * d).Exp().matrix() * weight).sum())
        for ours, wanted in zip(found, truth):
            assert ours.item() == pytest.approx((wanted * weight).sum().item(), rel=1e-11, abs=1e-11)


@pytest.mark.parametrize('angle', [0.0, 1e-8, 1e-2, 2.0])
def test_log_of_exp_has_the_derivatives_of_the_identity(name, angle):
    algebra, x = getattr(pp, name.lower()), twist(name, angle).tensor()
    d = torch.linspace(-0.6, 0.9, x.numel(), dtype=torch.float64)
    for log_scale in (0.0, 1e-8) if name in ('RxSO3', 'Sim3') else (None,):
        if log_scale is not None:
            x[-1] = log_scale
        weight = torch.linspace(0.5, 1.5, x.numel(), dtype=torch.float64)
        value, first, second, third = three_derivatives(
            lambda s, weight=weight: (algebra(x + s * d).Exp().Log() * weight).tensor().sum())
        assert value.item() == pytest.approx((x * weight).sum().item(), rel=1e-12, abs=1e-12)
        assert first.item() == pytest.approx((d * weight).sum().item(), rel=1e-11, abs=1e-11)
        assert abs(second.item()) < 1e-10 and abs(third.item()) < 1e-9


@pytest.mark.parametrize(
    'requires', ['parameter', 'requires_grad_', 'attribute', 'constructor', 'deepcopy', 'clone'])
def test_a_group_leaf_gets_the_left_tangent_gradient(name, requires):
    import copy
    group, X = GROUPS[name], random(name, 3)
    p = torch.linspace(-1, 1, group.point, dtype=torch.float64)
    leaf = {
        'parameter': lambda: pp.Parameter(X),
        'requires_grad_': lambda: X.clone().requires_grad_(),
        'attribute': lambda: X.clone(),
        'constructor': lambda: getattr(pp, name)(X.tensor().clone(), requires_grad=True),
        'deepcopy': lambda: copy.deepcopy(pp.Parameter(X)),
        'clone': lambda: pp.Parameter(X).detach().clone().requires_grad_(),
    }[requires]()
    if requires == 'attribute':
        leaf.requires_grad = True

    def loss(Y):
        return (Y @ p).sin().sum() + Y.Log().tensor().cos().sum() + Y.tensor()[..., 0].sum()

    loss(leaf).backward()
    delta = torch.zeros(3, group.dof, dtype=torch.float64, requires_grad=True)
    expected, = torch.autograd.grad(loss(X.Retr(delta)), delta)
    assert type(leaf.grad) is torch.Tensor and leaf.grad.shape == leaf.shape
    assert torch.allclose(leaf.grad[..., :group.dof], expected, atol=1e-12)
    assert torch.equal(leaf.grad[..., group.dof:], torch.zeros_like(leaf.grad[..., group.dof:]))


class Keep(torch.autograd.Function):
    """The identity; its backward hands on one and the same tensor, which the context keeps."""

    @staticmethod
    def forward(ctx, x, kept):
        ctx.kept = kept
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return ctx.kept, None


def test_the_projection_at_a_leaf_changes_no_gradient_that_others_hold(name):
    """It writes over a gradient that it alone sees: not over one that is given, kept, shared, a view or hooked."""
    X, Y = (random(name, 3, seed=i).requires_grad_() for i in (0, 1))
    weight = torch.linspace(-1, 1, X.numel(), dtype=torch.float64).view(X.shape)
    before, seen = weight.clone(), []

    def through_a_hook(x):
        x.register_hook(seen.append)
        return x
    for loss in (lambda: (X.tensor() * 1, weight), lambda: (Keep.apply(X.tensor(), weight), torch.zeros_like(weight)),
                 lambda: (Keep.apply(X.tensor(), weight.view(-1).view(weight.shape)), torch.zeros_like(weight)),
                 lambda: (X.tensor() + Y.tensor(), weight), lambda: (X.tensor() + X.tensor().detach(), weight),
                 lambda: (through_a_hook(X.tensor() * 1) * 1, weight), lambda: (X, weight)):
        X.grad = Y.grad = None
        out, given = loss()
        out.backward(given)
        assert torch.equal(weight, before)
        for Z in (X, Y):
            if Z.grad is not None:
                expected = GROUPS[name].functions['to_leaf'](Z.detach().tensor(), before)
                assert torch.allclose(Z.grad, expected, atol=1e-14)
    assert len(seen) == 1 and torch.equal(seen[0], before)


@pytest.mark.parametrize('part', ['translation', 'rotation', 'scale', 'euler', 'tensor', 'matrix'])
def test_parts_have_their_true_gradient(part):
    X = random('Sim3', 4)
    leaf = pp.Parameter(X)

    def loss(Y):
        out = getattr(Y, part)()
        return (out.tensor() if isinstance(out, pp.LieTensor) else out).sin().sum()
    loss(leaf).backward()
    delta = torch.zeros(4, 7, dtype=torch.float64, requires_grad=True)
    expected, = torch.autograd.grad(loss(X.Retr(delta)), delta)
    assert torch.allclose(leaf.grad[..., :7], expected, atol=1e-12)


def test_an_algebra_leaf_gets_its_plain_gradient():
    x = pp.Parameter(random('se3', 3))
    x.tensor().square().sum().backward()
    assert torch.equal(x.grad, 2 * x.tensor().detach())


@pytest.mark.parametrize('register', [lambda X, hook: X.register_hook(hook),
                                      lambda X, hook: torch.Tensor.register_hook(X, hook)])
def test_hooks_see_and_change_the_gradient_that_is_delivered(register):
    X, expected, seen = pp.Parameter(random('SE3', 3)), pp.Parameter(random('SE3', 3)), []
    expected.Log().tensor().sum().backward()
    handle = register(X, lambda g: seen.append(g) or 2 * g)
    X.Log().tensor().sum().backward()
    assert torch.allclose(seen[0], expected.grad) and torch.allclose(X.grad, 2 * expected.grad)
    handle.remove()
    X.grad = None
    X.Log().tensor().sum().backward()
    assert torch.allclose(X.grad, expected.grad)


def test_the_hook_keeps_no_leaf_alive():
    import weakref
    X = pp.Parameter(random('SE3', 3))
    X.Log().tensor().sum().backward()
    reference = weakref.ref(X)
    del X
    assert reference() is None


def test_forward_over_reverse_at_a_group_leaf():
    X, d = pp.Parameter(random('SE3', 3)), torch.linspace(-1, 1, 9, dtype=torch.float64).view(3, 3)
    p = d.cos()

    def gradient(p):
        return torch.autograd.grad((X @ p).sin().sum(), X)[0]
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(p, d)
        tangent = torch.autograd.forward_ad.unpack_dual(gradient(dual)).tangent
    difference = (gradient(p + 1e-6 * d) - gradient(p - 1e-6 * d)) / 2e-6
    assert torch.allclose(tangent, difference, atol=1e-8)


def test_gradients_accumulate_and_retain_like_tensors():
    X = pp.Parameter(random('SE3', 3))
    for _ in range(2):
        X.translation().sum().backward()
    single = pp.Parameter(X.detach())
    single.translation().sum().backward()
    assert torch.allclose(X.grad, 2 * single.grad)
