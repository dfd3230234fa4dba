"""A factor of one's own: nothing but its residual. Here the difference of two distances, as of ultrasound.

    position --(|p - a| - |p - b|)-- measured
"""
import torch

from pypose_core.graph import Euclidean, FactorGraph, Prior, Residual, RobustKernel

torch.manual_seed(0)
f64 = {'dtype': torch.float64}
SIGMA = 0.01                                                               # m
anchors = torch.tensor([[0, 0, 0], [5, 0, 1], [0, 5, 2], [5, 5, 0], [2, 2, 3]], **f64)
truth = torch.rand(30, 3, **f64) * 5
pairs = torch.combinations(torch.arange(len(anchors)), 2)


def residual(p, a, b, z):
    """Of a single factor: p, a, b (3,), z (); torch.func makes the Jacobian."""
    return ((p - a).norm() - (p - b).norm() - z)[None]


index = torch.arange(len(truth)).repeat_interleave(len(pairs))
a, b = (anchors[pairs[:, k]].repeat(len(truth), 1) for k in (0, 1))
measured = (truth[index] - a).norm(dim=-1) - (truth[index] - b).norm(dim=-1) + SIGMA * torch.randn(len(index), **f64)
measured[::17] += 1.0                                                      # echoes

graph = FactorGraph()
graph.add_variables('position', Euclidean(3), torch.full((len(truth), 3), 2.5, **f64))
graph.add(Residual(residual, ('position',), index, data=(a, b, measured), information=torch.eye(1) / SIGMA ** 2,
                   kernel=RobustKernel.CAUCHY, width=2.0))
graph.add(Prior('position', torch.arange(len(truth)), torch.full((3,), 2.5, **f64), information=1e-2 * torch.eye(3)))
result = graph.optimize()
print(result)
print(f'median error: {(result.value["position"] - truth).norm(dim=-1).median() * 1000:.1f} mm')
