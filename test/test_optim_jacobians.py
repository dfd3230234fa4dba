"""Jacobians of models: modjac and its relatives, and the tangent-width columns that the optimizers use."""
import pytest
import torch

import pypose_core as pp
from pypose_core.optim.linearize import linearize_blocks, linearize_dense
from pypose_core.optim.problem import Problem
from pypose_core.optim.structure import Columns, find_structure, pushforward
from pypose_core.optim.tangent import retract

modjac = pp.optim.functional.modjac


class Two(torch.nn.Module):
    """Two outputs of two parameters, one of them on a group."""

    def __init__(self, group='SE3', count=2):
        super().__init__()
        torch.manual_seed(0)
        self.pose = pp.Parameter(getattr(pp, f'randn_{group}')(count, dtype=torch.float64))
        self.point = torch.nn.Parameter(torch.linspace(0.1, 0.3, self.pose.ltype.group.point, dtype=torch.float64))

    def forward(self, x):
        return (self.pose @ x).Log().tensor(), self.pose.Act(self.point)


class One(Two):
    """The first output alone."""

    def forward(self, x):
        return (self.pose @ x).Log().tensor()


def other(group='SE3', count=2):
    torch.manual_seed(1)
    return getattr(pp, f'randn_{group}')(count, dtype=torch.float64)


def finite_difference(problem, h=1e-6):
    """Columns of the stacked Jacobian by central differences along the group."""
    columns = Columns(problem.params, torch.Size())
    values = [p.detach().as_subclass(torch.Tensor) for p in problem.params]

    def residual(delta):
        moved = [retract(p, v, s) for p, v, s in zip(problem.params, values, columns.split(delta))]
        return torch.cat([r.reshape(-1) for r in problem.residuals_at(moved)]).detach()
    unit = torch.eye(columns.count, dtype=torch.float64)
    return torch.stack([(residual(h * e[None]) - residual(-h * e[None])) / (2 * h) for e in unit], 1)


@pytest.mark.parametrize('group', ['SO3', 'SE3', 'RxSO3', 'Sim3', 'SE2', 'SE23'])
@pytest.mark.parametrize('vectorize', [True, False])
def test_columns_are_tangent_wide_and_right(group, vectorize):
    problem = Problem(Two(group), other(group))
    J = linearize_dense(problem, vectorize=vectorize).J
    dof = problem.params[0].ltype.manifold[0]
    assert J.shape == (1, J.shape[1], 2 * dof + problem.params[1].numel())
    torch.testing.assert_close(J[0], finite_difference(problem), rtol=1e-6, atol=1e-8)


def test_forward_mode_agrees_with_reverse_mode():
    problem = Problem(Two(), other())
    J = linearize_dense(problem).J[0]
    v = torch.linspace(-1, 1, J.shape[1], dtype=torch.float64)
    pushed = pushforward(problem, Columns(problem.params, torch.Size()))(v[None])
    torch.testing.assert_close(torch.cat([y.reshape(-1) for y in pushed]), J @ v)


@pytest.mark.parametrize('options', [{}, {'vectorize': True}, {'vectorize': True, 'strategy': 'forward-mode'}],
                         ids=str)
def test_modjac_pads_groups_to_storage_width(options):
    model, x = Two(), other()
    J = modjac(model, x, **options)
    assert [[tuple(j.shape) for j in row] for row in J] == [[(2, 6, 2, 7), (2, 6, 3)], [(2, 3, 2, 7), (2, 3, 3)]]
    dense = linearize_dense(Problem(model, x)).J[0]
    rows = torch.cat([torch.cat([row[0][..., :6].reshape(-1, 12), row[1].reshape(-1, 3)], 1) for row in J])
    torch.testing.assert_close(rows, dense)
    assert all((row[0][..., 6] == 0).all() for row in J)


def test_modjac_of_one_output_is_not_nested_and_flattens():
    model, x = One(), other()
    J = modjac(model, x)
    assert isinstance(J, tuple) and J[0].shape == (2, 6, 2, 7) and J[1].shape == (2, 6, 3)
    assert (J[1] == 0).all()
    flat = modjac(model, x, flatten=True)
    assert flat.shape == (12, 17)
    torch.testing.assert_close(flat[:, :14], J[0].reshape(12, 14))


def test_modjac_of_a_network_is_the_known_one():
    model = torch.nn.Conv2d(1, 1, 1)
    image = torch.full((1, 1, 1), 0.25)
    weight, bias = modjac(model, image)
    assert weight.shape == (1, 1, 1, 1, 1, 1, 1) and float(weight) == 0.25 and float(bias) == 1


def test_modjac_is_differentiable_where_asked_for():
    class Square(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor([3.0]))

        def forward(self):
            return self.x ** 3

    model = Square()
    assert not modjac(model, vectorize=True)[0].requires_grad and not modjac(model)[0].requires_grad
    for vectorize in (True, False):
        J, = modjac(model, create_graph=True, vectorize=vectorize)
        second, = torch.autograd.grad(J.sum(), model.x)
        assert float(J.detach()) == 27 and float(second) == 18


def test_modjac_refuses_nan_and_what_torch_cannot():
    class Root(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor([-1.0]))

        def forward(self):
            return self.x.sqrt()

    with pytest.raises(ValueError, match='NaN'):
        modjac(Root())
    with pytest.raises(ValueError, match='vectorize'):
        modjac(Root(), strategy='forward-mode')
    with pytest.raises(ValueError, match='strategy'):
        modjac(Root(), strategy='sideways')


@pytest.mark.parametrize('function', [pp.optim.functional.modjacrev, pp.optim.functional.modjacfwd])
def test_modjacrev_and_modjacfwd(function):
    model, x = One(), other()
    expected = modjac(model, x)
    by_params = function(model, x)
    torch.testing.assert_close(by_params['pose'], expected[0])
    torch.testing.assert_close(by_params['point'], expected[1])
    by_input = function(model, x, argnums=1)
    assert by_input.shape == (2, 6, 2, 7) and (by_input[..., 6] == 0).all()
    both = function(model, (x,), argnums=(0, 1))
    torch.testing.assert_close(both[0]['pose'], expected[0])
    torch.testing.assert_close(both[1][0], by_input)


def test_modjacrev_with_auxiliary_output():
    class Aux(One):
        def forward(self, x):
            return super().forward(x), 2 * self.point

    J, aux = pp.optim.functional.modjacrev(Aux(), other(), has_aux=True)
    assert aux.shape == (3,) and J['pose'].shape == (2, 6, 2, 7)


@pytest.mark.parametrize('points', [1, 40])
def test_blocks_equal_the_dense_jacobian(points):
    """In reverse mode (few residuals for each pose) and in forward mode (many)."""
    torch.manual_seed(0)

    class Cloud(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pose = pp.Parameter(pp.randn_SE3(5, dtype=torch.float64))

        def forward(self, p):
            return self.pose.unsqueeze(1).Act(p)

    problem = Problem(Cloud(), torch.randn(5, points, 3, dtype=torch.float64))
    residuals = problem.residuals()
    structure = find_structure(problem, residuals)
    assert structure.batch == (5,) and structure.height == 3 * points
    blocks, dense = linearize_blocks(problem, structure, residuals), linearize_dense(problem)
    torch.testing.assert_close(torch.block_diag(*blocks.J), dense.J[0])
    torch.testing.assert_close(blocks.R.flatten(), dense.R.flatten())
    assert not bool(blocks.broken)
