"""Tables within the functions of an optimal control problem: native and by torch the same, obeyed, and replaceable."""
import math

import pytest
import torch

from pypose_core.control import OCP, Box, LeastSquares, LookupTable, OcpOptions, StateConstraint
from pypose_core.geometry import DistanceField

POSE = (0.3, -0.2, 0.7)


def discs(*centres, radius=0.4, resolution=0.05, size=6.0) -> DistanceField:
    """Distances to round obstacles, exact at the centres of the cells."""
    cells = round(size / resolution)
    axis = -size / 2 + resolution * (torch.arange(cells, dtype=torch.float64) + 0.5)
    y, x = torch.meshgrid(axis, axis, indexing='ij')
    distance = torch.stack([torch.hypot(x - a, y - b) - radius for a, b in centres]).amin(0)
    return DistanceField(distance, resolution=resolution, origin=torch.full((2,), -size / 2, dtype=torch.float64))


def problem(table: LookupTable, backend: str, **kwargs) -> OCP:
    def dynamics(x, u, p):
        return torch.stack([x[..., 0] + 0.1 * u[..., 0] * torch.cos(x[..., 2]),
                            x[..., 1] + 0.1 * u[..., 0] * torch.sin(x[..., 2]), x[..., 2] + 0.1 * u[..., 1]], -1)

    def clearance(x, p):
        return table(x[..., 0], x[..., 1]).unsqueeze(-1)
    return OCP(dynamics, state=3, control=2, horizon=25, backend=backend, parameters={'goal': (3,)},
               stage_cost=LeastSquares(lambda x, u, p: torch.cat([x - p.goal, 0.2 * u], -1)),
               terminal_cost=LeastSquares(lambda x, p: 5 * (x - p.goal)),
               control_bounds=Box(-torch.tensor([1.0, 2.0]).double(), torch.tensor([1.0, 2.0]).double()),
               constraints=[StateConstraint('clearance', clearance, lower=0.2)], **kwargs)


@pytest.mark.parametrize('pose', [(0.0, 0.0, 0.0), POSE])
def test_values_and_gradients_are_those_of_the_field_in_any_frame(pose):
    field, table = discs((0.5, 0.3), (-1.0, 0.8)), LookupTable(120 * 120)
    table.update(field, pose=pose)
    ocp = problem(table, 'native')
    torch.manual_seed(0)
    X = torch.empty(26, 3, dtype=torch.float64).uniform_(-4, 4)      # some beyond the grid
    model = ocp.record(X, torch.zeros(25, 2, dtype=torch.float64), {'goal': torch.zeros(3)})
    c, s = math.cos(pose[2]), math.sin(pose[2])
    turn = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    local = (X[:, :2] - torch.tensor(pose[:2])) @ turn
    distance, gradient = field.with_gradient(local)
    torch.testing.assert_close(model['d'][:, 0], distance)
    torch.testing.assert_close(model['D'][:, 0, 2:4], gradient @ turn.mT)
    torch.testing.assert_close(table(X[:, 0], X[:, 1]), distance)
    torch.testing.assert_close(torch.from_numpy(table.at(X[:, :2].numpy())), distance)
    by_torch = problem(table, 'torch').record(X, torch.zeros(25, 2, dtype=torch.float64), {'goal': torch.zeros(3)})
    torch.testing.assert_close(by_torch['D'], model['D'])


def test_the_way_leads_around_what_the_table_says_and_follows_its_changes():
    table, goal = LookupTable(120 * 120), torch.tensor([2.0, 0.0, 0.0]).double()
    ocp = problem(table, 'native', options=OcpOptions(max_iterations=100, tolerance=1e-4))
    assert ocp.native
    x0 = torch.tensor([0.0, 0.05, 0.0]).double()
    free = ocp.solve(x0, parameters={'goal': goal}, start='roll')
    assert free.converged and free.states[:, 1].abs().max() < 0.06
    for centre, side in (((1.0, -0.1), 1), ((1.0, 0.15), -1)):
        table.update(discs(centre))
        found = ocp.solve(x0, parameters={'goal': goal}, start='roll')
        distance = torch.hypot(found.states[1:, 0] - centre[0], found.states[1:, 1] - centre[1]) - 0.4
        assert found.stats.violation < 1e-5 and distance.min() > 0.2 - 0.005
        assert side * found.states[10:, 1].sum() > 0
    table.clear()
    assert ocp.solve(x0, parameters={'goal': goal}, start='roll').stats.cost == pytest.approx(free.stats.cost, rel=1e-6)


def test_what_does_not_fit_is_refused():
    table = LookupTable(100)
    with pytest.raises(ValueError, match='up to 100'):
        table.update(discs((0, 0)))
    with pytest.raises(ValueError, match='plane'):
        table.update(DistanceField(torch.zeros(2, 2, 2), resolution=1.0))
