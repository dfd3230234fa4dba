"""Plans: factors against derivatives and closed forms, ways around walls, gradients by costs."""
import importlib.util

import numpy as np
import pytest
import torch

from pypose_core import native
from pypose_core.geometry import DistanceField
from pypose_core.graph import Euclidean, FactorGraph, Prior, SolverLayer
from pypose_core.planning import Obstacle, PlanConfig, Planner, Smoothness, grid_path, sampled_path
from pypose_core.planning.factors import interpolation
from pypose_core.planning.initial_path import dijkstra_search

f64 = {'dtype': torch.float64}


def rooms() -> torch.Tensor:
    """8 m x 6 m with two walls that leave a way in the shape of an S; cells of 0.1 m."""
    occupied = torch.zeros(60, 80, dtype=torch.bool)
    occupied[:45, 25:28] = occupied[15:, 50:53] = True
    occupied[[0, -1]] = occupied[:, [0, -1]] = True
    return occupied


def field() -> DistanceField:
    return DistanceField.from_occupancy(rooms(), resolution=0.1)


class Circle:
    """The distance to a disc: smooth everywhere outside of its centre."""

    def __init__(self, centre, radius):
        self.centre, self.radius = torch.tensor(centre, **f64), radius

    def __call__(self, points):
        return (points - self.centre).square().sum(-1).sqrt() - self.radius


@pytest.mark.parametrize('d', [2, 3])
@pytest.mark.parametrize('kind', ['smoothness', 'grid', 'circle'])
def test_jacobians_are_those_of_the_residuals(kind, d):
    torch.manual_seed(0)
    graph = FactorGraph()
    graph.add_variables('state', Euclidean(2 * d), torch.rand(4, 2 * d, **f64))
    pairs, dt = torch.tensor([[0, 1], [1, 2], [2, 3]]), torch.tensor([0.3, 0.5, 0.4], **f64)
    if kind == 'smoothness':
        factors = Smoothness('state', pairs, dt, 0.4, d)
    else:
        distance = DistanceField(torch.rand((9,) * d, **f64), resolution=0.2) if kind == 'grid' else \
            Circle([0.2] * d, 0.1)
        factors = Obstacle('state', pairs, interpolation(dt, torch.tensor([0.1, 0.5, 0.9], **f64)), distance, 0.9)
    graph.add(factors)
    x = factors.at(graph.values)
    r, J = factors.jacobians(x, factors.data)
    torch.testing.assert_close(r, factors.residual(x, factors.data))
    assert bool((r != 0).any())
    for k in range(2):
        def moved(z, k=k):
            return factors.residual([z if i == k else x[i] for i in range(2)], factors.data).sum(0)
        expected = torch.autograd.functional.jacobian(moved, x[k]).movedim(1, 0)
        torch.testing.assert_close(J[k].expand(3, -1, -1), expected)


def test_the_information_of_smoothness_is_that_of_white_acceleration():
    dt, q = torch.tensor([0.7], **f64), 0.3
    factors = Smoothness('state', torch.tensor([[0, 1]]), dt, q, 2)
    graph = FactorGraph()
    graph.add_variables('state', Euclidean(4), torch.zeros(2, 4, **f64))
    graph.add(factors)
    s = torch.linspace(0, 0.7, 20_001, **f64)[:-1] + 0.7 / 40_000      # ∫ Φ(s) L q² Lᵀ Φ(s)ᵀ ds, by sums
    phi = torch.stack([s, torch.ones_like(s)], -1)
    Q = q * q * torch.einsum('ni,nj->ij', phi, phi) * 0.7 / 20_000
    torch.testing.assert_close(torch.linalg.inv(factors.information[0]), torch.kron(Q, torch.eye(2, **f64)),
                               rtol=1e-6, atol=1e-9)


def test_without_obstacles_it_is_the_cubic_from_rest_to_rest():
    free = DistanceField.from_occupancy(torch.zeros(50, 50, dtype=torch.bool), resolution=0.2)
    plan = Planner(free, PlanConfig(start='straight'))(torch.tensor([1.0, 1.0]), torch.tensor([7.0, 4.0]))
    t = torch.linspace(0, plan.duration, 33, **f64)
    s = (t / plan.duration)[:, None]
    expected = torch.tensor([1.0, 1.0], **f64) + (3 * s ** 2 - 2 * s ** 3) * torch.tensor([6.0, 3.0], **f64)
    assert plan.success and plan.result.status.ok
    torch.testing.assert_close(plan.curve(t), expected, atol=2e-3, rtol=0)      # the ends are held to a millimetre


@pytest.mark.parametrize('start', ['grid', 'ompl'])
def test_a_way_between_walls_keeps_the_robots_distance_everywhere(start):
    if start == 'ompl':
        pytest.importorskip('ompl', reason='OMPL is not installed; it is optional')
    config = PlanConfig(start=start, radius=0.25)
    plan = Planner(field(), config)(torch.tensor([1.0, 1.0]), torch.tensor([7.0, 5.0]),
                                    start_velocity=torch.tensor([0.2, 0.1]))
    assert plan.success, plan.status
    points = plan.curve(torch.linspace(0, plan.duration, 2000, **f64))
    cells = rooms().nonzero().flip(-1).double() * 0.1                           # corners of the occupied cells
    gap = (points[:, None] - cells).clamp(min=0) - (points[:, None] - cells - 0.1).clamp(min=0)
    nearest = (points[:, None] - cells - gap).norm(dim=-1).amin()
    assert nearest > 0.25 - 0.05                                                # half a cell is the field's own error
    torch.testing.assert_close(points[[0, -1]], torch.tensor([[1.0, 1.0], [7.0, 5.0]], **f64), atol=5e-3, rtol=0)
    poses = plan.poses(0.05)
    steps = poses[:, :3].diff(dim=0)
    assert bool(((steps.norm(dim=-1) - 0.05).abs() < 5e-3).all())
    heading = 2 * torch.atan2(poses[:-1, 5], poses[:-1, 6])
    torch.testing.assert_close(torch.stack([heading.cos(), heading.sin()], -1),
                               steps[:, :2] / steps[:, :2].norm(dim=-1, keepdim=True))


def test_plans_in_space_go_through_the_window():
    occupied = torch.zeros(16, 20, 20, dtype=torch.bool)
    occupied[:, :, 10] = True
    occupied[9:14, 3:8, 10] = False
    space = DistanceField.from_occupancy(occupied, resolution=0.2)
    plan = Planner(space, PlanConfig(radius=0.15, clearance=0.1))(torch.tensor([1.0, 3.0, 0.6]),
                                                                 torch.tensor([3.0, 3.0, 0.6]))
    assert plan.success, plan.status
    at = plan.positions[(plan.positions[:, 0] - 2.1).abs().argmin()]
    assert 0.6 < at[1] < 1.6 and 1.8 < at[2] < 2.8 and plan.poses().shape[1] == 7


def test_failures_are_sentences():
    here, there = torch.tensor([1.0, 1.0]), torch.tensor([7.0, 5.0])
    assert 'too near' in Planner(field(), PlanConfig(start='straight'))(here, there).status
    assert 'start is' in Planner(field())(torch.tensor([0.1, 1.0]), there).status
    closed = rooms()
    closed[:, 40] = True
    plan = Planner(DistanceField.from_occupancy(closed, resolution=0.1))(here, there)
    assert not plan.success and 'no way' in plan.status
    with pytest.raises(ValueError, match='2 finite'):
        Planner(field())(torch.zeros(3), there)
    with pytest.raises(ValueError, match='one of'):
        PlanConfig(start='magic')
    with pytest.raises(ValueError, match='speed'):
        PlanConfig(speed=0.0)


def test_without_ompl_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match="pip install 'ompl>=2'"):
        PlanConfig(start='ompl')
    with pytest.raises(ImportError, match="pip install 'ompl>=2'"):
        sampled_path(field(), torch.tensor([1.0, 1.0]), torch.tensor([7.0, 5.0]), 0.2)


def test_the_search_finds_the_shortest_way():
    free = DistanceField.from_occupancy(torch.zeros(40, 60, dtype=torch.bool), resolution=0.1)
    way = grid_path(free, torch.tensor([0.55, 0.55], **f64), torch.tensor([5.55, 2.55], **f64), 0.2)
    assert abs(way.diff(dim=0).norm(dim=-1).sum() - (2 * 2 ** 0.5 + 3)) < 1e-9      # 20 cells askew, 30 straight


@pytest.mark.parametrize('d', [2, 3])
def test_the_native_search_costs_as_much_as_scipys(d):
    if not native.available:
        pytest.skip('the native kernels are not built')
    torch.manual_seed(d)
    for _ in range(20):
        values = torch.rand((23, 17) if d == 2 else (7, 9, 8), **f64) - 0.3
        free = (values > 0.1).flatten().nonzero()[:, 0]
        first, last = (int(free[k]) for k in torch.randint(len(free), (2,)))
        ways = [np.asarray(search(z, 0.1, 0.2, first, last)) for search, z in (
            (torch.ops.pypose.grid_search, values), (dijkstra_search, values.numpy()))]
        room = ((values - 0.1) / 0.2).clamp(0, 1).numpy()
        costs = []
        for way in ways:
            cells = np.stack(np.unravel_index(way, values.shape), -1)
            steps = np.abs(np.diff(cells, axis=0))
            assert steps.max(initial=0) <= 1 and (values.flatten()[torch.from_numpy(way)] > 0.1).all()
            along = room.flat[way]
            costs.append((np.linalg.norm(steps, axis=1) * (3 - along[1:] - along[:-1])).sum())
        assert [len(way) > 0 for way in ways].count(True) != 1
        assert abs(costs[0] - costs[1]) < 1e-9 and (not len(ways[0]) or (ways[0][0], ways[0][-1]) == (first, last))


def test_a_plan_is_differentiable_by_its_costs():
    planner = Planner(field(), PlanConfig(interval=1.0, checks=2))
    planner.field = Circle([2.0, 0.2], 0.8)
    way = torch.tensor([[0.0, 0.0], [2.0, -1.5], [4.0, 0.0]], **f64)
    built = planner.build(way)
    M = len(built.obstacles)
    layer = SolverLayer(built.graph, [(built.obstacles, 'weight'), (built.obstacles, 'clearance'),
                                      (built.ends, 'measured')], tolerance=1e-10)
    ends = built.ends.measured.clone()
    start = built.graph.values['state'].clone()
    direction = torch.randn(start.shape, generator=torch.Generator().manual_seed(0), **f64)

    def loss(weight, clearance, ends):
        states = layer(weight.expand(M), clearance.expand(M, 1), ends, start={'state': start})['state']
        return (states * direction).sum()
    inputs = [z.requires_grad_() for z in (torch.tensor(0.01, **f64), torch.tensor(0.5, **f64), ends)]
    assert isinstance(built.ends, Prior)
    gradients = torch.autograd.grad(loss(*inputs), inputs)
    for k, h in ((0, 1e-5), (1, 1e-5)):
        moved = [[z.detach() + (s * h if i == k else 0) for i, z in enumerate(inputs)] for s in (1, -1)]
        difference = (loss(*moved[0]) - loss(*moved[1])) / (2 * h)
        torch.testing.assert_close(gradients[k], difference, rtol=2e-3, atol=1e-6)
    shift = torch.zeros_like(ends)
    shift[0, 1] = 1e-4
    difference = (loss(inputs[0].detach(), inputs[1].detach(), ends.detach() + shift)
                  - loss(inputs[0].detach(), inputs[1].detach(), ends.detach() - shift)) / 2e-4
    torch.testing.assert_close(gradients[2][0, 1], difference, rtol=2e-3, atol=1e-6)
