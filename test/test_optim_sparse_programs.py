"""PCG, psjac, parallel_for_sparse_jacobian: what PyPose documents of them, and needs a package that PyPI lacks to run.

Marks change no number; programs written for its sparse Levenberg-Marquardt run as they stand, on any device, and end
where scipy's solvers end.
"""
import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.sparse.linalg import LinearOperator, cg
from scipy.spatial.transform import Rotation
from torch import nn

import pypose_core as pp
from pypose_core.autograd.function import parallel_for_sparse_jacobian, psjac

f64 = {'dtype': torch.float64}


@parallel_for_sparse_jacobian
def edge_error(node1, node2, measured):
    return (measured.Inv() @ node1.Inv() @ node2).Log().tensor()


class PoseGraph(nn.Module):
    """A fixed first pose, and the others."""

    def __init__(self, root, nodes, error):
        super().__init__()
        self.register_buffer('root', root)
        self.nodes = pp.Parameter(nodes, sjac=error is edge_error)
        self.error = error

    def forward(self, edges, measured):
        nodes = torch.cat((self.root, self.nodes), dim=0)
        return self.error(nodes[edges[:, 0]], nodes[edges[:, 1]], measured)


class Reprojection(nn.Module):
    """Bundle adjustment: observations less what cameras see of points."""

    def __init__(self, poses, points):
        super().__init__()
        self.poses = pp.Parameter(poses, sjac=True)
        self.points = pp.Parameter(points, sjac=True)

    @psjac
    def project(points, poses):
        seen = poses.Act(points)
        return -seen[..., :2] / seen[..., 2].unsqueeze(-1)

    def forward(self, observed, camera, point):
        return Reprojection.project(self.points[point], self.poses[camera]) - observed


def loop(noise: float):
    """A ring of 12 poses with two chords: edges, measurements, and a start away from the truth."""
    torch.manual_seed(3)
    edges = torch.tensor([(k, (k + 1) % 12) for k in range(12)] + [(0, 5), (3, 9)])
    turn = torch.arange(12, **f64) * (2 * torch.pi / 12)
    zero = torch.zeros_like(turn)
    truth = pp.SE3(torch.stack([3 * turn.cos(), 3 * turn.sin(), 0.2 * turn, zero, zero, (turn / 2).sin(),
                                (turn / 2).cos()], -1))
    measured = truth[edges[:, 0]].Inv() @ truth[edges[:, 1]] @ pp.randn_SE3(len(edges), sigma=noise, **f64)
    return edges, measured, truth[:1], truth[1:] @ pp.randn_SE3(11, sigma=0.1, **f64)


def run(error, solver, **options):
    edges, measured, root, start = loop(0.02)
    graph = PoseGraph(root, start, error)
    optimizer = pp.optim.LM(graph, solver=solver, strategy=pp.optim.strategy.Constant(damping=1e-4), **options)
    losses = [float(optimizer.step(input=(edges, measured))) for _ in range(8)]
    return losses, graph


def test_a_marked_pose_graph_ends_where_scipy_ends():
    losses, graph = run(edge_error, pp.optim.solver.PCG(tol=1e-10), sparse=True)
    edges, measured, root, start = loop(0.02)

    def residuals(x: np.ndarray) -> np.ndarray:     # of poses [t, rotation vector], without our Lie operations
        t, R = x.reshape(-1, 6)[:, :3], Rotation.from_rotvec(x.reshape(-1, 6)[:, 3:])
        t = np.concatenate([root.tensor()[:, :3].numpy(), t])
        R = Rotation.concatenate([Rotation.from_quat(root.tensor()[:, 3:].numpy()), R])
        i, j = edges.numpy().T
        q = Rotation.from_quat(measured.tensor()[:, 3:].numpy())
        rotation = q.inv() * R[i].inv() * R[j]
        moved = q.inv().apply(R[i].inv().apply(t[j] - t[i]) - measured.tensor()[:, :3].numpy())
        phi = rotation.as_rotvec()
        angle = np.linalg.norm(phi, axis=1)[:, None]
        K = np.cross(phi[:, None], -np.eye(3))      # the matrices of phi x
        scale = (1 / angle ** 2 - (1 + np.cos(angle)) / (2 * angle * np.sin(angle)))[..., None]
        rho = np.einsum('nij,nj->ni', np.eye(3) - K / 2 + scale * (K @ K), moved)      # inverse left Jacobian
        return np.concatenate([rho, phi], 1).ravel()
    first = np.concatenate([start.tensor()[:, :3].numpy(),
                            Rotation.from_quat(start.tensor()[:, 3:].numpy()).as_rotvec()], 1).ravel()
    best = least_squares(residuals, first, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert losses[0] > losses[-1] and abs(losses[-1] / (2 * best.cost) - 1) < 1e-8
    np.testing.assert_allclose(graph.nodes.detach().tensor()[:, :3].numpy(), best.x.reshape(-1, 6)[:, :3], atol=1e-5)


@pytest.mark.parametrize('solver', [pp.optim.solver.PCG(tol=1e-13), pp.optim.solver.CG(tol=1e-13),
                                    pp.optim.solver.Cholesky()], ids=lambda s: type(s).__name__)
def test_marks_and_the_sparse_option_change_no_step(solver):
    marked = run(edge_error, solver, sparse=True)[0]
    plain = run(lambda *x: edge_error(*x), solver)[0]
    np.testing.assert_allclose(marked, plain, rtol=1e-9)
    np.testing.assert_allclose(marked, run(edge_error, pp.optim.solver.Cholesky())[0], rtol=1e-6)


def test_a_marked_function_of_a_batch_is_that_of_its_rows():
    _, measured, _, start = loop(0.1)
    a, b, c = start[:5], start[5:10], measured[:5]
    rows = torch.cat([edge_error(a[k:k + 1], b[k:k + 1], c[k:k + 1]) for k in range(5)])
    torch.testing.assert_close(edge_error(a, b, c), rows)
    over = torch.func.vmap(lambda x, y, z: (pp.SE3(z).Inv() @ pp.SE3(x).Inv() @ pp.SE3(y)).Log().tensor())
    torch.testing.assert_close(over(a.tensor(), b.tensor(), c.tensor()), rows)
    assert edge_error.__name__ == 'edge_error' and psjac is parallel_for_sparse_jacobian


def test_marked_bundle_adjustment_finds_the_scene_again():
    torch.manual_seed(0)
    points = torch.rand(20, 3, **f64) * 2 + torch.tensor([-1.0, -1.0, -6.0], **f64)
    poses = pp.randn_SE3(4, sigma=0.1, **f64)
    camera, point = (z.reshape(-1) for z in torch.meshgrid(torch.arange(4), torch.arange(20), indexing='ij'))
    observed = Reprojection.project(points[point], poses[camera])
    model = Reprojection(poses @ pp.randn_SE3(4, sigma=0.02, **f64), points + 0.05 * torch.randn(20, 3, **f64))
    optimizer = pp.optim.LM(model, solver=pp.optim.solver.PCG(maxiter=2000, tol=1e-10), sparse=True,
                            strategy=pp.optim.strategy.TrustRegion(radius=1e6))
    for _ in range(15):
        loss = optimizer.step(input=(observed, camera, point))
    assert float(loss) < 1e-16
    # The scene is the true one up to a similarity: compare ratios of distances between points.
    ratio = torch.pdist(model.points.detach()) / torch.pdist(points)
    assert float(ratio.std() / ratio.mean()) < 1e-5


@pytest.mark.parametrize('given', [False, True])
def test_the_iterates_of_pcg_are_those_of_scipy(given):
    generator = torch.Generator().manual_seed(0)
    M = torch.randn(40, 40, generator=generator, **f64)
    scale = torch.logspace(-2, 2, 40, **f64)
    A = scale[:, None] * (M @ M.mT + torch.eye(40, **f64)) * scale
    b, x = torch.randn(40, 1, generator=generator, **f64), torch.randn(40, 1, generator=generator, **f64)
    near = torch.linalg.inv(A + torch.diag(A.diagonal())) if given else torch.diag(1 / A.diagonal())
    preconditioner = LinearOperator(A.shape, lambda r: near.numpy() @ r)
    for count in (1, 3, 10, 25):
        expected, _ = cg(A.numpy(), b[:, 0].numpy(), x0=x[:, 0].numpy(), M=preconditioner, maxiter=count, rtol=1e-12)
        got = pp.optim.solver.PCG(maxiter=count, tol=1e-12)(A, b, x=x, M=near if given else None)
        np.testing.assert_allclose(got[:, 0].numpy(), expected, rtol=1e-6, atol=1e-8)
