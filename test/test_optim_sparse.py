"""Models that gather: their sparse systems give the steps that the dense ones give."""
import copy

import pytest
import torch
from torch import nn

import pypose_core as pp
from pypose_core.autograd.function import psjac
from pypose_core.optim import GN, LM
from pypose_core.optim.kernel import Huber
from pypose_core.optim.solver import CG, LSTSQ, PCG, Cholesky
from pypose_core.optim.strategy import Adaptive, Constant, TrustRegion

N = 30


def chain(kind=pp.randn_SE3, n=N, extra=60, dtype=torch.float64):
    """Nodes, edges between them and what was measured of these."""
    torch.manual_seed(1)
    truth = kind(n, dtype=dtype)
    i, j = torch.randint(n, (2, extra))
    edges = torch.cat([torch.stack([torch.arange(n - 1), torch.arange(1, n)], 1), torch.stack([i, j], 1)[i != j]])
    Z = truth[edges[:, 0]].Inv() @ truth[edges[:, 1]]
    dof = Z.Log().shape[-1]
    start = truth.Retr(0.1 * torch.randn(n, dof, dtype=dtype))
    return start, edges, Z.Retr(0.02 * torch.randn(len(Z), dof, dtype=dtype))


def relative(a, b, Z):
    return (Z.Inv() @ a.Inv() @ b).Log().tensor()


class Graph(nn.Module):
    def __init__(self, nodes):
        super().__init__()
        self.nodes = pp.Parameter(nodes.clone())     # a Parameter shares what it is made of

    def forward(self, edges, Z):
        return relative(self.nodes[edges[:, 0]], self.nodes[edges[:, 1]], Z)


class Rooted(Graph):
    """The first pose is held: what is gathered is put together of a buffer and a parameter."""

    def __init__(self, nodes):
        super().__init__(nodes[1:])
        self.register_buffer('root', nodes[:1])

    def forward(self, edges, Z):
        nodes = torch.cat((self.root, self.nodes))
        return psjac(relative)(nodes[edges[:, 0]], nodes[edges[:, 1]], Z)


class Algebra(nn.Module):
    """The parameter is of an algebra; each element becomes a pose before it is gathered, by another spelling."""

    def __init__(self, nodes):
        super().__init__()
        self.twists = pp.Parameter(nodes.Log())

    def forward(self, edges, Z):
        nodes = self.twists.Exp()
        return relative(nodes.index_select(0, edges[:, 0]), nodes[edges[:, 1], :], Z)


class Sliced(Graph):
    """Neighbours by slices, a mask, and a prior of each pose: three outputs."""

    def forward(self, edges, Z):
        even = torch.arange(len(self.nodes)) % 2 == 0
        return (relative(self.nodes[:-1], self.nodes[1:], Z[:len(self.nodes) - 1]), self.nodes[even].translation(),
                0.1 * self.nodes.Log().tensor())


class Shared(Graph):
    """One correction of all measurements, and a scale of each edge's own."""

    def __init__(self, nodes):
        super().__init__(nodes)
        self.correction = nn.Parameter(torch.full((6,), 0.01, dtype=nodes.dtype))
        self.scale = nn.Parameter(torch.ones(5, 6, dtype=nodes.dtype))

    def forward(self, edges, Z):
        r = relative(self.nodes[edges[:, 0]], self.nodes[edges[:, 1]], Z) + self.correction
        return r, self.scale - 1.1, self.nodes[[0, 3]].translation()


def run(optimizer, steps, *args, **kwargs):
    return torch.stack([optimizer.step(*args, **kwargs) for _ in range(steps)])


def pair(model, make=LM, **kwargs):
    """The optimizers of two copies of a model: as it is found, and dense."""
    return make(model, **kwargs), make(copy.deepcopy(model), structure='dense', **kwargs)


def assert_same(found, dense, steps, *args, atol=1e-9, **kwargs):
    for _ in range(steps):
        a, b = found.step(*args, **kwargs), dense.step(*args, **kwargs)
        torch.testing.assert_close(a, b, rtol=1e-6, atol=atol)
    assert 'sparse' in found.structure and 'no sparse' not in found.structure
    for p, q in zip(found.model.parameters(), dense.model.parameters()):
        torch.testing.assert_close(p.data, q.data, rtol=1e-5, atol=max(atol, 1e-7))


@pytest.mark.parametrize('model', [Graph, Rooted, Algebra, Sliced, Shared])
@pytest.mark.parametrize('robust', [False, True])
def test_steps_are_those_of_the_dense_problem(model, robust):
    nodes, edges, Z = chain()
    kernel = {'kernel': Huber(0.05)} if robust else {}
    # damped, for without a prior the whole graph may be moved
    assert_same(*pair(model(nodes), strategy=Constant(damping=1e-2), **kernel), 4, (edges, Z))


@pytest.mark.parametrize('kind', [pp.randn_SO3, pp.randn_SE3, pp.randn_RxSO3, pp.randn_Sim3, pp.randn_SE2])
def test_steps_are_those_of_the_dense_problem_in_every_group(kind):
    nodes, edges, Z = chain(kind)
    assert_same(*pair(Graph(nodes), strategy=Constant(damping=1e-2), sparse=True), 3, (edges, Z))


def test_weights_and_adaptive_strategies_and_both_square_solvers_see_the_same_system():
    nodes, edges, Z = chain()
    M = torch.randn(len(Z), 6, 6, dtype=torch.float64)
    W = M @ M.mT + torch.eye(6, dtype=torch.float64)
    for strategy in (Adaptive(damping=1e-3), TrustRegion(radius=1e3)):
        assert_same(*pair(Rooted(nodes), strategy=strategy), 4, (edges, Z), weight=W)
    for solver in (CG(tol=1e-13), PCG(tol=1e-13)):
        found = LM(Rooted(nodes), solver=solver, strategy=Constant(damping=1e-3))
        dense = LM(Rooted(nodes), strategy=Constant(damping=1e-3), structure='dense')
        assert_same(found, dense, 3, (edges, Z))


def test_gauss_newton_takes_the_sparse_step_with_a_solver_of_square_systems_alone():
    nodes, edges, Z = chain()
    assert_same(*pair(Rooted(nodes), GN, solver=Cholesky()), 3, (edges, Z))
    other = GN(Rooted(nodes), solver=LSTSQ())
    other.step((edges, Z))
    assert 'one sparse' not in other.structure


def test_float32_parameters_stay_float32_and_reach_the_minimum():
    nodes, edges, Z = chain(dtype=torch.float32)
    optimizer = LM(Rooted(nodes))
    loss = run(optimizer, 6, (edges, Z))
    assert loss.dtype == optimizer.model.nodes.dtype == torch.float32 and 'one sparse' in optimizer.structure
    exact = LM(Rooted(nodes.double()))
    reference = run(exact, 6, (edges, Z.double()))
    assert abs(float(loss[-1] / reference[-1]) - 1) < 1e-3


def test_bundle_adjustment_with_a_camera_of_each_image_eliminates_the_points():
    torch.manual_seed(2)
    dtype = torch.float64
    poses = pp.randn_SE3(6, sigma=0.1, dtype=dtype)
    points = torch.randn(80, 3, dtype=dtype) + torch.tensor([0, 0, 6.0])
    intrinsics = torch.tensor([[500.0, 0.01]]).double().repeat(6, 1)
    camera, point = (x.reshape(-1) for x in torch.meshgrid(torch.arange(6), torch.arange(80), indexing='ij'))

    @psjac
    def project(K, C, P):
        x = C.Act(P)
        n = x[..., :2] / x[..., [2]]
        return K[..., :1] * (1 + K[..., 1:] * n.square().sum(-1, keepdim=True)) * n

    class Bundle(nn.Module):
        def __init__(self):
            super().__init__()
            self.K = pp.Parameter(intrinsics * 1.01, sjac=True)
            self.C = pp.Parameter(poses.Retr(0.01 * torch.randn(6, 6, dtype=dtype)), sjac=True)
            self.P = pp.Parameter(points + 0.05 * torch.randn(80, 3, dtype=dtype), sjac=True)

        def forward(self, pixels, camera, point):
            return project(self.K[camera], self.C[camera], self.P[point]) - pixels

    pixels = project(intrinsics[camera], poses[camera], points[point])
    inputs = {'pixels': pixels, 'camera': camera, 'point': point}
    torch.manual_seed(3)
    model = Bundle()
    assert_same(*pair(model, strategy=Constant(damping=1e-3)), 2, inputs, atol=1e-6)
    optimizer = LM(model, solver=PCG(tol=1e-8, maxiter=250), strategy=TrustRegion(up=2.0, down=0.5 ** 4), reject=30,
                   sparse=True)
    loss = run(optimizer, 15, inputs)
    assert loss[-1] < 1e-6 < loss[0]


def test_the_index_may_change_from_step_to_step():
    nodes, edges, Z = chain()
    found, dense = pair(Rooted(nodes), strategy=Constant(damping=1e-3))
    for some in (slice(None), slice(0, 40), torch.randperm(len(edges))):
        assert_same(found, dense, 2, (edges[some], Z[some]))


def test_an_edge_from_a_node_to_itself_counts_once_for_both_ends():
    nodes, edges, Z = chain()
    edges = torch.cat([edges, torch.tensor([[4, 4], [7, 7]])])
    Z = torch.cat([Z, pp.randn_SE3(2, sigma=0.1, dtype=torch.float64)])
    assert_same(*pair(Graph(nodes), strategy=Constant(damping=1e-2)), 3, (edges, Z))


class Mixed(Graph):
    """Each residual depends on all rows."""

    def forward(self, edges, Z):
        r = super().forward(edges, Z)
        return r - r.mean(0)


class First(Graph):
    """Each residual depends on the first node too."""

    def forward(self, edges, Z):
        return super().forward(edges, Z) + self.nodes[0].Log().tensor()


class Twice(Graph):
    """What is gathered was gathered before."""

    def forward(self, edges, Z):
        nodes = self.nodes[1:]
        return relative(nodes[edges[:, 0] - 1], nodes[edges[:, 1] - 1], Z)


@pytest.mark.parametrize('model', [Mixed, First, Twice])
def test_a_model_that_is_not_made_of_rows_is_solved_as_a_dense_problem_that_says_why(model):
    nodes, edges, Z = chain()
    found, dense = pair(model(nodes), strategy=Constant(damping=1e-2))
    for _ in range(3):
        torch.testing.assert_close(found.step((edges, Z)), dense.step((edges, Z)), rtol=1e-9, atol=1e-12)
    assert 'no sparse one: ' in found.structure


def test_a_network_is_no_sparse_problem():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 2)).double()
    optimizer = LM(net)
    run(optimizer, 2, torch.randn(50, 3).double(), torch.randn(50, 2).double())
    assert 'no sparse one' in optimizer.structure


def test_small_problems_stay_dense_unless_asked():
    nodes, edges, Z = chain(n=4, extra=3)
    small, asked = LM(Rooted(nodes)), LM(Rooted(nodes), sparse=True)
    torch.testing.assert_close(run(small, 4, (edges, Z)), run(asked, 4, (edges, Z)))
    assert 'dense' in small.structure and 'one sparse' in asked.structure


def test_ten_thousand_poses_fit_into_memory_and_converge():
    torch.manual_seed(0)
    n = 10_000
    steps = pp.se3(torch.tensor([1.0, 0, 0, 0, 0, 0.1]).double().expand(n - 1, 6)).Exp()
    truth = torch.cat([pp.identity_SE3(1, dtype=torch.float64), pp.cumprod(steps, 0, left=False)])
    edges = torch.stack([torch.arange(n - 1), torch.arange(1, n)], 1)
    model = Rooted(truth.Retr(0.01 * torch.randn(n, 6, dtype=torch.float64)))
    model.root.copy_(truth[:1])
    loss = run(LM(model), 8, (edges, steps))
    assert loss[-1] < 1e-6 * loss[0]
