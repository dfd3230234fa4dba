"""The sparse solver layer: gradients against finite differences of the whole solver, and against the dense layer."""
from functools import partial

import pytest
import torch
from exact_solver import EXACT

import pypose_core as pp
from pypose_core.graph import (
    NAV_STATE,
    SE2,
    SE3,
    SIM3,
    Between,
    Euclidean,
    FactorGraph,
    Gnss,
    Imu,
    Landmark,
    Prior,
    Range,
    Residual,
    RobustKernel,
    chordal_initialization,
    read_g2o,
)
from pypose_core.graph import SolverLayer as AnyLayer
from pypose_core.inertial import ImuNoise, preintegrate
from pypose_core.lie import se2, se3

f64 = torch.float64
SolverLayer = partial(AnyLayer, tolerance=1e-11)
PAIRS = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0], [0, 2]])


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=f64)


def around(group, count, seed, scale=0.4):
    identity = torch.tensor(group.identity, dtype=f64).expand(count, -1)
    return group.retract(identity, scale * randn(count, group.dof, seed=seed))


def spd(M):
    return M @ M.mT + 2 * torch.eye(M.shape[-1], dtype=f64)


def loop(group, *, scale=0.3, **settings):
    """Four variables in a loop that does not close: (graph, between factors, measurements as tangent vectors)."""
    X = around(group, 4, 1)
    graph = FactorGraph()
    graph.add_variables('x', group, X)
    graph.fix('x', [0])
    z = group.retract(group.relative(X[PAIRS[:, 0]], X[PAIRS[:, 1]]), scale * randn(5, group.dof, seed=2))
    Omega = spd(randn(5, group.dof, group.dof, seed=3))
    return graph, graph.add(Between('x', PAIRS, z, information=Omega, **settings)), z


def gradcheck(layer, function, *tensors):
    """Gradients of a function of the solution, through `function`, which makes the layer's inputs of the tensors."""
    start = {name: X.clone() for name, X in layer.graph.values.items()}
    mix = {name: randn(*X.shape, seed=8) for name, X in start.items()}

    def whole(*tensors):
        solution = layer(*function(*tensors), start=start)
        # along the group: a scale of the quaternion is not its business
        return torch.stack([(solution[name] * mix[name]).sum() for name in solution])

    assert torch.autograd.gradcheck(whole, [x.requires_grad_() for x in tensors], eps=1e-5, atol=2e-6, rtol=1e-5,
                                    fast_mode=True)


@pytest.mark.parametrize('kernel', [RobustKernel.NONE, RobustKernel.CAUCHY])
@pytest.mark.parametrize('gradient', ['implicit', 'unroll'])
@pytest.mark.parametrize('group', [SE2, SE3, SIM3, Euclidean(3)], ids=str)
def test_gradcheck_by_measurements_information_and_weights(group, gradient, kernel):
    graph, factors, z = loop(group, kernel=kernel, width=3.0)
    layer = SolverLayer(graph, [(factors, 'measured'), (factors, 'information'), (factors, 'weight')],
                        gradient=gradient, steps=3, damping=1e-2, solver=EXACT)
    gradcheck(layer, lambda d, M, w: (group.retract(z, d), spd(M), w.exp()), torch.zeros(5, group.dof, dtype=f64),
              randn(5, group.dof, group.dof, seed=3), 0.3 * randn(5, seed=4))


def test_gradient_equals_that_of_the_dense_layer():
    graph, factors, z = loop(SE3)
    Z, Omega = z.clone().requires_grad_(), spd(randn(5, 6, 6, seed=3)).requires_grad_()
    X0, start = graph.values['x'][:1], graph.values['x'][1:]

    def residual(X, Z):
        X = torch.cat([X0, pp.SE3(X).tensor()])
        return se3.log(se3.mul(se3.inv(Z), se3.mul(se3.inv(X[PAIRS[:, 0]]), X[PAIRS[:, 1]])))

    mix = randn(3, 3, seed=6)
    dense = pp.optim.SolverLayer(residual)(pp.SE3(start), Z, weight=Omega)
    expected = torch.autograd.grad((dense.tensor()[:, :3] * mix).sum(), (Z, Omega))
    layer = SolverLayer(graph, [(factors, 'measured'), (factors, 'information')], solver=EXACT)
    found = torch.autograd.grad((layer(Z, Omega)['x'][1:, :3] * mix).sum(), (Z, Omega))
    torch.testing.assert_close(found[1] + found[1].mT, expected[1] + expected[1].mT, rtol=1e-5, atol=1e-7)

    def along(G):      # what of the gradient is along the group
        return torch.cat([G[:, :3], G[:, 3:] - (G[:, 3:] * Z[:, 3:]).sum(1, keepdim=True) * Z[:, 3:]], 1).detach()

    torch.testing.assert_close(along(found[0]), along(expected[0]), rtol=1e-5, atol=1e-7)


def test_gradients_flow_to_landmarks_ranges_and_own_residuals():
    graph, pose, point = FactorGraph(), around(SE2, 3, 1), 2 * randn(2, 2, seed=2)
    graph.add_variables('pose', SE2, pose)
    graph.add_variables('point', Euclidean(2), point)
    index = torch.cartesian_prod(torch.arange(3), torch.arange(2))
    from_pose = se2.act(se2.inv(pose[index[:, 0]]), point[index[:, 1]])
    z, length = from_pose + 0.05 * randn(6, 2, seed=3), from_pose.norm(dim=1, keepdim=True) + 0.05 * randn(6, 1, seed=4)
    seen = graph.add(Landmark(('pose', 'point'), index, z, sqrt_information=2 * torch.eye(2)))
    distance = graph.add(Range(('pose', 'point'), index, length))
    own = graph.add(Residual(lambda X, a, b: a * X[:2] - b, ('pose',), torch.arange(3),
                             data=(torch.ones(3), pose[:, :2] + 0.05 * randn(3, 2, seed=5))))
    graph.add(Prior('pose', torch.tensor([0, 1, 2]), SE2.retract(pose, 0.05 * randn(3, 3, seed=6))))
    layer = SolverLayer(graph, [(seen, 'measured'), (seen, 'sqrt_information'), (distance, 'measured'),
                                (own, 'data0'), (own, 'data1')], solver=EXACT)
    gradcheck(layer, lambda *x: x, z, 2 * torch.eye(2, dtype=f64), length, torch.ones(3, dtype=f64),
              pose[:, :2].clone())


def test_gradients_reach_imu_samples_through_the_preintegration():
    """Raw samples -> preintegration -> factor -> solution, as a network that corrects them would need it."""
    gyro, accel = 0.3 * randn(2, 10, 3, seed=1), randn(2, 10, 3, seed=2) + torch.tensor([0, 0, 9.81], dtype=f64)
    noise, dt = ImuNoise(1e-2, 1e-1, 1e-3, 1e-2), torch.tensor(0.05, dtype=f64)
    graph = FactorGraph()
    graph.add_variables('state', NAV_STATE, around(NAV_STATE, 3, 3, 0.01))
    first = preintegrate(dt, gyro, accel, noise=noise)
    imu = graph.add(Imu('state', torch.tensor([[0, 1], [1, 2]]), first, torch.tensor([0, 0, -9.81])))
    graph.add(Gnss('state', torch.arange(3), 0.1 * randn(3, 3, seed=4), information=100 * torch.eye(3)))
    graph.add(Prior('state', torch.tensor([0]), graph.values['state'][:1], information=10 * torch.eye(15)))
    assert graph.optimize().status.ok
    layer = SolverLayer(graph, [(imu, 'preintegrated')], solver=EXACT)
    gradcheck(layer, lambda gyro, accel: (preintegrate(dt, gyro, accel, noise=noise).row(),), gyro, accel)


def test_unrolled_steps_are_differentiated_by_the_start():
    graph, factors, z = loop(SE3)
    layer = SolverLayer(graph, [(factors, 'measured')], gradient='unroll', steps=2, damping=1e-2)
    start = graph.values['x'].clone()

    def whole(d):
        return layer(z, start={'x': SE3.retract(start, d)})['x']

    d = 0.1 * randn(4, 6, seed=7)
    assert torch.autograd.gradcheck(whole, d.requires_grad_(), eps=1e-5, atol=1e-6, fast_mode=True)


def test_unrolled_and_truncated_gradients_approach_the_implicit_one():
    graph, factors, z = loop(SE3, scale=0.1)
    Z = z.clone().requires_grad_()

    def gradient(**settings):
        layer = SolverLayer(graph, [(factors, 'measured')], solver=EXACT, **settings)
        return torch.autograd.grad(layer(Z)['x'][1:, :3].square().sum(), Z)[0][:, :3]

    exact = gradient()
    for kind in ('unroll', 'truncated'):
        errors = [float((gradient(gradient=kind, steps=steps) - exact).norm() / exact.norm()) for steps in (1, 3, 10)]
        assert errors[0] > errors[1] and errors[2] < 1e-4 and errors[2] < errors[1]


def test_a_lost_factor_costs_one_factorization_and_no_accuracy():
    graph, factors, z = loop(SE3)
    Z = z.clone().requires_grad_()
    layer = SolverLayer(graph, [(factors, 'measured')], solver=EXACT)
    loss = layer(Z)['x'][1:, :3].sum()
    right, = torch.autograd.grad(loss, Z, retain_graph=True)
    assert layer.adjoint.factorizations == 0
    problem = graph.problem()
    other = problem.linearize({'x': around(SE3, 4, 9, 2.0)})[2]
    problem.solver.factorize(other, damping=10.0)      # as another optimization would leave it
    again, = torch.autograd.grad(loss, Z)
    assert layer.adjoint.factorizations <= 1
    torch.testing.assert_close(again, right, rtol=1e-7, atol=1e-9)


def test_many_small_graphs_at_once_are_differentiable():
    """Chains of three poses, which the optimizer solves without the factor that the layer would use."""
    count = 64
    graph = FactorGraph()
    X = torch.tensor(SE3.identity, dtype=f64).repeat(3 * count, 1)
    graph.add_variables('x', SE3, X)
    graph.fix('x', 3 * torch.arange(count))
    first = 3 * torch.arange(count)
    pairs = torch.cat([torch.stack([first + a, first + b], 1) for a, b in ((0, 1), (1, 2), (0, 2))])
    z = around(SE3, 3 * count, 5, 0.3)
    factors = graph.add(Between('x', pairs, z))
    Z, mix = z.clone().requires_grad_(), randn(3 * count, 3, seed=6)
    gradients = []
    for solver in (None, EXACT):
        graph.set_values('x', X)
        layer = SolverLayer(graph, [(factors, 'measured')], solver=solver)
        gradients.append(torch.autograd.grad((layer(Z)['x'][:, :3] * mix).sum(), Z)[0])
        assert layer.adjoint.factorizations <= 1
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def test_a_network_learns_what_the_measurements_are_off_by():
    """Odometry that is too long by a fifth; the loss is the distance from positions that are known."""
    truth = torch.tensor(SE2.identity, dtype=f64).repeat(6, 1)
    truth[:, 0] = torch.arange(6)
    step = torch.tensor([1.2, 0, 1, 0], dtype=f64).repeat(5, 1)
    graph = FactorGraph()
    graph.add_variables('pose', SE2, truth)
    graph.fix('pose', [0])
    odometry = graph.add(Between('pose', torch.stack([torch.arange(5), torch.arange(1, 6)], 1), step))
    layer = SolverLayer(graph, [(odometry, 'measured')])
    scale = torch.ones((), dtype=f64, requires_grad=True)
    optimizer = torch.optim.SGD([scale], lr=0.005)
    for _ in range(40):
        optimizer.zero_grad()
        loss = (layer(torch.cat([step[:, :2] * scale, step[:, 2:]], 1))['pose'] - truth).square().sum()
        loss.backward()
        optimizer.step()
    assert scale.item() == pytest.approx(1 / 1.2, abs=1e-3)


def test_wrong_inputs_are_refused():
    graph, factors, z = loop(SE3)
    with pytest.raises(ValueError, match='not in the graph'):
        SolverLayer(graph, [(Between('x', PAIRS, z), 'measured')])
    with pytest.raises(ValueError, match='gradient must be one of'):
        SolverLayer(graph, [], gradient='magic')
    with pytest.raises(ValueError, match="no input 'lever_arm'"):
        SolverLayer(graph, [(factors, 'lever_arm')])(z)
    with pytest.raises(ValueError, match='measured must have shape'):
        SolverLayer(graph, [(factors, 'measured')])(z[:, :6])
    with pytest.raises(ValueError, match='takes 1 tensors'):
        SolverLayer(graph, [(factors, 'measured')])()


@pytest.mark.parametrize('kernel', RobustKernel)
def test_kernels_in_torch_are_the_native_ones(kernel):
    s = torch.tensor([0.01, 0.5, 2.0, 30.0], dtype=f64)
    graph = FactorGraph()
    graph.add_variables('x', Euclidean(1), torch.zeros(4, 1))
    graph.add(Prior('x', torch.arange(4), s.sqrt()[:, None], kernel=kernel, width=1.3))
    assert graph.cost() == pytest.approx(float(kernel.rho(s, 1.3).sum()), rel=1e-12)


def test_sphere_is_differentiated_with_the_cached_factor_alone(data):
    """The derivative along a random change of all measurements, against finite differences of the solver."""
    graph = read_g2o(data / 'pgo3d' / 'sphere2500.g2o').graph
    chordal_initialization(graph, 'SE3')
    edges = graph.factors[0]
    layer = AnyLayer(graph, [(edges, 'measured')])
    change, mix = randn(len(edges), 6, seed=1), randn(2500, 3, seed=2)

    def loss(scale):
        return (layer(SE3.retract(Z, scale * change))['SE3'][:, :3] * mix).sum()

    Z = edges.measured.clone()
    layer(Z)
    scale = torch.zeros((), dtype=f64, requires_grad=True)
    slope, = torch.autograd.grad(loss(scale), scale)
    assert layer.adjoint.solves <= 6 and layer.adjoint.factorizations == 0
    layer.solver = EXACT
    up, down = (loss(torch.tensor(step, dtype=f64)) for step in (1e-5, -1e-5))
    assert slope.item() == pytest.approx(float(up - down) / 2e-5, rel=1e-4)


@pytest.mark.parametrize('group, settings', [
    (SE2, {'kernel': RobustKernel.CAUCHY}), (SE3, {}), pytest.param(SE2, {}, marks=pytest.mark.slow),
    pytest.param(SE3, {'kernel': RobustKernel.HUBER, 'width': 1.0}, marks=pytest.mark.slow),
    pytest.param(SE3, {'kernel': RobustKernel.CAUCHY}, marks=pytest.mark.slow)])
def test_implicit_gradients_are_differentiable_again(group, settings):
    graph, between, z = loop(group, scale=0.1, **settings)
    start, mix = graph.values['x'].clone(), randn(4, len(group.identity), seed=8)
    layer = SolverLayer(graph, [(between, 'measured'), (between, 'information')], solver=EXACT)
    Omega = between.information.clone()

    def whole(d, s):
        X = layer(group.retract(z, d), Omega * s[:, None, None], start={'x': start})['x']
        return (X * mix).sum() + (X[2] * X[3]).sum()

    d, s = torch.zeros(5, group.dof, dtype=f64, requires_grad=True), torch.ones(5, dtype=f64, requires_grad=True)
    assert torch.autograd.gradgradcheck(whole, [d, s], eps=1e-5, atol=1e-5, rtol=1e-4, fast_mode=True)
    once = torch.autograd.grad(whole(d, s), [d, s])
    again = torch.autograd.grad(whole(d, s), [d, s], create_graph=True)
    for a, b in zip(once, again):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
