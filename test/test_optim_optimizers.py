"""Gauss-Newton, Levenberg-Marquardt and dogleg: where they end, and what they say about it."""
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import pypose_core as pp

f64 = torch.float64
Status = pp.optim.Status
DAMPED = [pp.optim.LM, pp.optim.Dogleg]
ALL = [pp.optim.GN, *DAMPED]


class Function(torch.nn.Module):
    """Residuals of a vector x."""

    def __init__(self, start, residual):
        super().__init__()
        self.x = torch.nn.Parameter(torch.as_tensor(start, dtype=f64).clone())
        self.residual = residual

    def forward(self, *args, **kwargs):
        return self.residual(self.x, *args, **kwargs)


def rosenbrock(x):
    return torch.stack([10 * (x[..., 1] - x[..., 0] ** 2), 1 - x[..., 0]], -1)


def powell_singular(x):
    a, b, c, d = x.unbind(-1)
    return torch.stack([a + 10 * b, 5 ** 0.5 * (c - d), (b - 2 * c) ** 2, 10 ** 0.5 * (a - d) ** 2], -1)


class Inversion(torch.nn.Module):
    def __init__(self, *shape, group='SE3', dtype=f64, sigma=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.pose = pp.Parameter(getattr(pp, f'randn_{group}')(*shape, dtype=dtype, sigma=sigma))

    def forward(self, x):
        return (self.pose @ x).Log()


def element(*shape, group='SE3', dtype=f64):
    torch.manual_seed(1)
    return getattr(pp, f'randn_{group}')(*shape, dtype=dtype)


@pytest.mark.parametrize('cls', DAMPED)
def test_rosenbrock(cls):
    model = Function([-1.2, 1.0], rosenbrock)
    result = cls(model).optimize(())
    assert result.status.converged and result.stats.iterations < 40
    torch.testing.assert_close(model.x.detach(), torch.ones(2, dtype=f64), rtol=0, atol=1e-9)
    assert result.stats.costs.shape == (result.stats.iterations + 1,)
    assert float(result.stats.costs[0]) == pytest.approx(24.2)
    assert (result.stats.costs.diff() <= 0).all()


@pytest.mark.parametrize('cls', DAMPED)
def test_singular_jacobian_at_the_optimum(cls):
    model = Function([3.0, -1.0, 0.0, 1.0], powell_singular)
    result = cls(model).optimize((), max_iterations=200)
    assert float(result.value) < 1e-20
    assert result.stats.states == (result.status,)


@pytest.mark.parametrize('cls', ALL)
@pytest.mark.parametrize('group', ['SO3', 'SE3', 'RxSO3', 'Sim3', 'SE2', 'SE23'])
def test_inverts_elements_of_every_group(cls, group):
    model, x = Inversion(2, 3, group=group), element(2, 3, group=group)
    result = cls(model).optimize(x)
    assert float(result.value) < 1e-20 and result.status.converged
    torch.testing.assert_close(model.pose.detach().matrix(), x.Inv().matrix(), rtol=0, atol=1e-9)


@pytest.mark.parametrize('cls', ALL)
def test_float32(cls):
    model, x = Inversion(5, dtype=torch.float32), element(5, dtype=torch.float32)
    result = cls(model).optimize(x)
    assert float(result.value) < 1e-9 and result.status.converged and result.value.dtype == torch.float32


def batch_starts():
    generator = torch.Generator().manual_seed(0)
    return torch.tensor([-1.2, 1.0], dtype=f64) + torch.randn(6, 2, generator=generator, dtype=f64)


@pytest.mark.parametrize('cls', DAMPED)
def test_problems_in_a_batch_go_the_way_they_go_alone(cls):
    """Each has its own damping and radius, takes its own steps and stops by itself."""
    starts = batch_starts()
    together = Function(starts, rosenbrock)
    optimizer = cls(together)
    result = optimizer.optimize(())
    assert '6 independent problems' in result.stats.structure and len(result.stats.states) == 6
    most = 0
    for i, start in enumerate(starts):
        alone = Function(start.clone(), rosenbrock)
        expected = cls(alone).optimize(())
        torch.testing.assert_close(together.x[i].detach(), alone.x.detach(), rtol=0, atol=1e-9)
        assert result.stats.states[i].converged and expected.status.converged
        most = max(most, expected.stats.iterations)
    assert result.stats.iterations == most


@pytest.mark.parametrize('cls', DAMPED)
def test_a_hopeless_problem_does_not_hold_up_the_others(cls):
    model = Function(torch.tensor([[-1.2, 1.0], [float('nan'), 0.0], [2.0, 2.0]]), rosenbrock)
    result = cls(model).optimize(())
    assert result.status is Status.NONFINITE
    assert result.stats.states[1] is Status.NONFINITE
    assert all(result.stats.states[i].converged for i in (0, 2))
    torch.testing.assert_close(model.x[[0, 2]].detach(), torch.ones(2, 2, dtype=f64))


@pytest.mark.parametrize('cls', ALL)
@pytest.mark.parametrize('kernel', ['Huber', 'Cauchy', 'Tukey', 'GemanMcClure', 'Welsch'])
def test_robust_kernels_reject_outliers(cls, kernel):
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(40, 3, generator=generator, dtype=f64)
    truth = element()
    observed = truth.Act(points) + 0.01 * torch.randn(40, 3, generator=generator, dtype=f64)
    observed[:6] += 20

    class Align(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(2)
            self.pose = pp.Parameter(pp.randn_SE3(sigma=0.2, dtype=f64) @ truth)

        def forward(self, p):
            return self.pose.Act(p)

    model = Align()
    make = getattr(pp.optim.kernel, kernel)
    for delta in (10.0, 1.0, 0.1):
        result = cls(model, kernel=make(delta)).optimize(points, observed)
    error = (truth.Inv() @ model.pose.detach()).Log().tensor().norm()
    assert float(error) < (0.05 if kernel == 'Huber' else 0.01), result
    losses = make(0.1)((model.pose.detach().Act(points) - observed).square().sum(-1))
    torch.testing.assert_close(result.value, losses.sum())


def test_each_output_has_its_own_target_weight_kernel_and_corrector():
    def outputs(x, a):
        return (x * a).unsqueeze(-1), x[None]

    a = torch.tensor([1.0, 2.0], dtype=f64)
    target = torch.tensor([[1.0], [50.0]], dtype=f64), torch.tensor([[1.0, 1.0]], dtype=f64)
    weight = torch.tensor([4.0, 1.0], dtype=f64), torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=f64)
    cauchy = pp.optim.kernel.Cauchy(2.0)
    model = Function([0.5, 0.5], outputs)
    optimizer = pp.optim.LM(model, kernel=[cauchy, None], weight=weight,
                            corrector=[pp.optim.corrector.Triggs(cauchy), None])
    result = optimizer.optimize({'a': a}, target, max_iterations=200)
    assert result.status.converged
    x = model.x.detach().clone().requires_grad_()
    first, second = outputs(x, a)
    c = weight[0] * (first - target[0]).squeeze(-1).square()
    r = (second - target[1])[0]
    loss = cauchy(c).sum() + r @ weight[1] @ r
    torch.testing.assert_close(loss.detach(), result.value)
    gradient, = torch.autograd.grad(loss, x)
    assert float(gradient.abs().max()) < 1e-5


def test_gauss_newton_takes_solvers_of_either_kind():
    steps = []
    for solver in (None, pp.optim.solver.LSTSQ(), pp.optim.solver.Cholesky(), pp.optim.solver.CG(tol=1e-14),
                   pp.optim.solver.PCG(tol=1e-14)):
        model = Inversion(3)
        pp.optim.GN(model, solver).step(element(3))
        steps.append(model.pose.detach().tensor())
    for step in steps[1:]:
        torch.testing.assert_close(step, steps[0], rtol=1e-8, atol=1e-9)


def test_every_end_has_its_reason():
    ends = {
        Status.MAX_ITERATIONS: pp.optim.LM(Function([-1.2, 1.0], rosenbrock)).optimize((), max_iterations=2),
        Status.NONFINITE: pp.optim.LM(Function([-1.0, 1.0], torch.sqrt)).optimize(()),
        Status.SINGULAR: pp.optim.GN(Function([1.0, 2.0], lambda x: x[:1] - x[1:]),
                                     pp.optim.solver.Cholesky()).optimize(()),
        Status.GRADIENT: pp.optim.LM(Function([0.0], lambda x: torch.stack([x, 1 + x ** 2]))).optimize(()),
        Status.STALLED: pp.optim.LM(Function([1.0], lambda x: x.detach() + 0 * x - x + x.detach() ** 2)
                                    ).optimize(()),
    }
    for status, result in ends.items():
        assert result.status is status, (status, result.status)
        assert str(status) in str(result) and status.finished
    assert not Status.RUNNING.finished and len({s.value for s in Status}) == len(Status)


def test_state_is_kept_between_steps_and_told():
    model = Function([-1.2, 1.0], rosenbrock)
    optimizer = pp.optim.LM(model, strategy=pp.optim.strategy.Adaptive(damping=1e-3))
    assert optimizer.status is Status.RUNNING and optimizer.states == () and optimizer.loss is None
    losses = [optimizer.step(()) for _ in range(3)]
    assert optimizer.iterations == 3 and torch.equal(torch.stack(optimizer.costs), torch.stack(losses))
    assert float(optimizer.param_groups[0]['damping']) != 1e-3
    optimizer.param_groups[0]['damping'] = 1e-2
    optimizer.step(())
    state = optimizer.state_dict()
    other = pp.optim.LM(Function([-1.2, 1.0], rosenbrock), strategy=pp.optim.strategy.Adaptive(damping=1e-3))
    other.load_state_dict(state)
    assert float(other.param_groups[0]['damping']) == float(optimizer.param_groups[0]['damping'])


class Reads(TorchDispatchMode):
    """Counts the numbers that are read back from a device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.count += name in ('_local_scalar_dense', 'nonzero', 'is_nonzero', 'masked_select', 'equal')
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('cls', ALL)
@pytest.mark.parametrize('structure', ['auto', 'dense'])
def test_one_number_is_read_back_in_a_step(cls, structure):
    """A GPU is never waited for within a step: only its end asks whether all problems took it."""
    model, x = Inversion(4, sigma=0.1), element(4)
    kernel = pp.optim.kernel.Huber(5.0)
    solver = None if cls is not pp.optim.GN else pp.optim.solver.Cholesky()
    weight = torch.eye(6, dtype=f64)
    optimizer = cls(model, solver, kernel=kernel, weight=weight, structure=structure)
    optimizer.step(x)
    with Reads() as reads:
        optimizer.step(x)
    assert optimizer.reject_count == 0 and reads.count == 1


def test_a_model_that_fails_leaves_its_parameters_as_they_were():
    fails = []

    def residual(x):
        if fails and not torch.equal(x.detach(), fails[0]):
            raise RuntimeError('sensor lost')
        return rosenbrock(x)

    model = Function([-1.2, 1.0], residual)
    optimizer = pp.optim.LM(model, vectorize=False)
    optimizer.step(())
    before = model.x.detach().clone()
    fails.append(before)
    with pytest.raises(RuntimeError, match='sensor lost'):
        optimizer.step(())
    assert torch.equal(model.x.detach(), before)


def test_mistakes_are_named():
    model = Inversion(2)
    x = element(2)
    for make, match in (
            (lambda: pp.optim.LM(model, structure='guess'), "'auto' or 'dense'"),
            (lambda: pp.optim.LM(model, min=0), 'positive'),
            (lambda: pp.optim.Dogleg(model, radius=-1), 'radius'),
            (lambda: pp.optim.strategy.Adaptive(up=0.5), 'up'),
            (lambda: pp.optim.strategy.TrustRegion(down=2.0), 'down'),
            (lambda: pp.optim.strategy.Constant(0), 'damping'),
            (lambda: pp.optim.Tolerance(step=-1.0), 'step'),
            (lambda: pp.optim.LM(model).step(x, weight=torch.eye(5, dtype=f64)), r'must end in \(6, 6\)'),
            (lambda: pp.optim.LM(model).step(x, weight=torch.eye(6, dtype=f64).expand(3, 6, 6)), 'broadcastable'),
            (lambda: pp.optim.LM(model).step(x, weight=-torch.eye(6, dtype=f64)), 'negative eigenvalue'),
            (lambda: pp.optim.LM(model).step(x, weight=[torch.eye(6, dtype=f64)] * 2), '2 weights'),
            (lambda: pp.optim.LM(model, kernel=[None, None]).step(x), '2 correctors')):
        with pytest.raises(ValueError, match=match):
            make()


def test_a_semidefinite_weight_takes_residuals_out():
    model, x = Inversion(3), element(3)
    start = model.pose.detach().tensor().clone()
    W = torch.diag(torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=f64))
    pp.optim.LM(model, weight=W).optimize(x)
    r = (model.pose.detach() @ x).Log().tensor()
    assert float(r[:, :3].abs().max()) < 1e-9 and not torch.equal(model.pose.detach().tensor(), start)


@pytest.mark.parametrize('cls', ALL)
def test_a_single_number_is_a_parameter_too(cls):
    model = Function(3.0, lambda x: x ** 2 - 2)
    result = cls(model).optimize(())
    assert model.x.shape == () and float(model.x.detach()) == pytest.approx(2 ** 0.5, abs=1e-12)
    assert float(result.value) < 1e-25
