"""What is wrong in PyPose 0.9.5's optimizers, with the right answers."""
import pytest
import torch

import pypose_core as pp

f64 = torch.float64


class Linear(torch.nn.Module):
    """r = A x - b, blocks of two numbers."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.A = torch.randn(8, 3, generator=generator, dtype=f64)
        self.b = torch.randn(8, generator=generator, dtype=f64)
        self.x = torch.nn.Parameter(torch.zeros(3, dtype=f64))

    def forward(self, scale=1.0):
        return scale * (self.A @ self.x - self.b).view(4, 2)


class Inversion(torch.nn.Module):
    def __init__(self, *shape):
        super().__init__()
        torch.manual_seed(0)
        self.pose = pp.Parameter(pp.randn_SE3(*shape, dtype=f64))

    def forward(self, x):
        return (self.pose @ x).Log()


def some_weights():
    generator = torch.Generator().manual_seed(1)
    M = torch.randn(4, 2, 2, generator=generator, dtype=f64)
    return M @ M.mT + 0.1 * torch.eye(2, dtype=f64)


def weighted_solution(model, W):
    """Of AᵀWA x = AᵀWb, and the loss there."""
    W = torch.block_diag(*W)
    x = torch.linalg.solve(model.A.mT @ W @ model.A, model.A.mT @ W @ model.b)
    r = model.A @ x - model.b
    return x, r @ W @ r


@pytest.mark.parametrize('cls', [pp.optim.GN, pp.optim.LM, pp.optim.Dogleg])
def test_weights_count_once_in_the_step_and_once_in_the_loss(cls):
    model, W = Linear(), some_weights()
    x, expected = weighted_solution(model, W)
    for weight in ('constructor', 'step'):
        with torch.no_grad():
            model.x.zero_()
        optimizer = cls(model, weight=W) if weight == 'constructor' else cls(model)
        for _ in range(3):
            loss = optimizer.step((), weight=None if weight == 'constructor' else W)
        torch.testing.assert_close(model.x.detach(), x, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(loss, expected, rtol=1e-11, atol=0)


@pytest.mark.parametrize('cls', [pp.optim.GN, pp.optim.LM, pp.optim.Dogleg])
def test_the_loss_before_a_step_is_that_of_the_steps_own_input(cls):
    model = Linear()
    optimizer = cls(model)
    first = optimizer.step({'scale': 1.0})
    second = optimizer.step({'scale': 10.0})
    torch.testing.assert_close(optimizer.last, 100 * first, rtol=1e-9, atol=0)
    assert float(second) <= float(optimizer.last)


class Recorder(torch.nn.Module):
    """A solver that keeps the matrices it is given; its steps go up the slope `bad` times."""

    def __init__(self, bad=0):
        super().__init__()
        self.matrices, self.bad = [], bad

    def forward(self, A, b):
        self.matrices.append(A.clone())
        x = torch.linalg.solve(A, b)
        return -x if len(self.matrices) <= self.bad else x


def test_dampings_do_not_compound_when_steps_are_rejected():
    model = Linear()
    recorder = Recorder(bad=4)
    optimizer = pp.optim.LM(model, solver=recorder, strategy=pp.optim.strategy.Adaptive(damping=1e-2))
    optimizer.step(())
    gram = model.A.mT @ model.A
    dampings = [float((m[0].diagonal() / gram.diagonal() - 1).mean()) for m in recorder.matrices]
    assert dampings == pytest.approx([1e-2 * 2 ** k for k in range(5)], rel=1e-9)
    assert all(float((m[0] - gram).fill_diagonal_(0).abs().max()) < 1e-12 for m in recorder.matrices)
    assert optimizer.reject_count == 4


@pytest.mark.parametrize('strategy', [pp.optim.strategy.Adaptive(), pp.optim.strategy.TrustRegion(),
                                      pp.optim.strategy.Constant()], ids=lambda s: type(s).__name__)
def test_a_step_that_raises_the_loss_is_never_taken(strategy):
    model = Linear()
    start = model.x.detach().clone()
    optimizer = pp.optim.LM(model, solver=Recorder(bad=1000), strategy=strategy, reject=16)
    loss = optimizer.step(())
    assert torch.equal(model.x.detach(), start) and torch.equal(loss, optimizer.last)
    assert optimizer.status is pp.optim.Status.STALLED
    assert len(optimizer.solver.matrices) == optimizer.reject_count == (17 if strategy.adapts else 1)


@pytest.mark.parametrize('cls', [pp.optim.GN, pp.optim.LM, pp.optim.Dogleg])
@pytest.mark.parametrize('frozen', ['first', 'second'])
def test_frozen_parameters_stay_and_the_others_are_optimized(cls, frozen):
    class Sum(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=f64))
            self.second = pp.Parameter(pp.SE3(torch.tensor([1.0, 2, 3, 0, 0, 0, 1], dtype=f64)))

        def forward(self, goal):
            return self.second.Act(torch.nn.functional.pad(self.first, (0, 1))) - goal

    model = Sum()
    getattr(model, frozen).requires_grad_(False)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    result = cls(model).optimize(torch.tensor([4.0, -1.0, 3.0], dtype=f64))
    assert float(result.value) < 1e-20
    for name, p in model.named_parameters():
        assert torch.equal(p.detach().as_subclass(torch.Tensor), start[name].as_subclass(torch.Tensor)) \
            == (name == frozen)


def test_a_model_without_trainable_parameter_is_refused():
    model = Linear()
    model.x.requires_grad_(False)
    with pytest.raises(ValueError, match='no parameter that requires gradients'):
        pp.optim.LM(model).step(())


@pytest.mark.parametrize('structure', ['auto', 'dense'])
def test_poses_have_six_columns(structure):
    model = Inversion(2)
    recorder = Recorder()
    torch.manual_seed(1)
    pp.optim.LM(model, solver=recorder, structure=structure).step(pp.randn_SE3(2, dtype=f64))
    assert recorder.matrices[0].shape == ((2, 6, 6) if structure == 'auto' else (1, 12, 12))


def test_residuals_on_a_translation_converge():
    """A GNSS fix on a pose held by an attitude: PyPose's gradient of translation() is no tangent gradient."""
    class Fix(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.pose = pp.Parameter(pp.randn_SE3(3, dtype=f64))

        def forward(self, fix, attitude):
            return self.pose.translation() - fix, (attitude.Inv() @ self.pose.rotation()).Log().tensor()

    model = Fix()
    torch.manual_seed(1)
    fix, attitude = 10 * torch.randn(3, 3, dtype=f64), pp.randn_SO3(3, dtype=f64)
    result = pp.optim.LM(model).optimize((fix, attitude), max_iterations=15)
    assert float(result.value) < 1e-20 and result.status.converged
    torch.testing.assert_close(model.pose.detach().translation(), fix)


def plateau(decreasing, patience=2, steps=50):
    """A scheduler beside an optimizer whose loss falls by 1 % of itself in each step."""
    model = Linear()
    optimizer = pp.optim.GN(model)
    optimizer.step(())
    scheduler = pp.optim.scheduler.StopOnPlateau(optimizer, steps, patience=patience, decreasing=decreasing)
    return optimizer, scheduler


@pytest.mark.parametrize('scale', [1e-8, 1.0, 1e8])
def test_stop_on_plateau_compares_relatively(scale):
    for decreasing, goes_on in ((5e-3, True), (2e-2, False)):
        optimizer, scheduler = plateau(decreasing)
        loss = torch.tensor(scale, dtype=f64)
        for _ in range(4):
            optimizer.last, optimizer.loss = loss, 0.99 * loss
            loss = optimizer.loss
            scheduler.step(loss)
        assert scheduler.continual() == goes_on
        assert scheduler.reason == ('' if goes_on else 'Maximum patience steps reached')


def test_stop_on_plateau_ends_and_says_why(capsys):
    model = Inversion(2)
    optimizer = pp.optim.LM(model, strategy=pp.optim.strategy.Constant(damping=1e-4))
    scheduler = pp.optim.scheduler.StopOnPlateau(optimizer, steps=20, patience=3, decreasing=1e-3, verbose=True)
    torch.manual_seed(1)
    scheduler.optimize(pp.randn_SE3(2, dtype=f64))
    assert not scheduler.continual() and scheduler.steps < 20 and scheduler.reason
    assert float(optimizer.loss) < 1e-20
    assert capsys.readouterr().out.splitlines()[0].startswith('StopOnPlateau on step 0 Loss ')
    optimizer, scheduler = plateau(1e-3, steps=1)
    assert scheduler.continual()
    scheduler.optimize(())
    assert scheduler.reason == 'Maximum steps reached'
    state = scheduler.state_dict()
    other = pp.optim.scheduler.StopOnPlateau(optimizer, 9)
    other.load_state_dict(state)
    assert other.reason == scheduler.reason and other.max_steps == 1
    with pytest.raises(TypeError, match='second-order'):
        pp.optim.scheduler.StopOnPlateau(torch.optim.SGD(model.parameters()), 3)
