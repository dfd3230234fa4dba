"""Factors on states [position, velocity] of a trajectory: motion with little acceleration, distance to obstacles."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pypose_core.graph.factors import Factors


class Smoothness(Factors):
    """A prior under which the acceleration is white noise: between states that are dt apart

        residual [p_j - p_i - dt v_i, v_j - v_i],   Omega⁻¹ = q² [[dt³/3, dt²/2], [dt²/2, dt]] ⊗ I

    Args:
        variables: the set of the states, R^2d.
        index: (M, 2), the earlier state first.
        dt: (M,) seconds.
        density: q, m/s^1.5: by how much the velocity strays in one second.
        dimensions: d.

    Source: Barfoot, Tong and Särkkä, Batch continuous-time trajectory estimation as exactly sparse Gaussian process
    regression, RSS 2014.
    """

    def __init__(self, variables: str, index: Tensor, dt: Tensor, density: float, dimensions: int, **noise):
        dt = torch.as_tensor(dt, dtype=torch.float64)
        blocks = torch.stack([12 / dt ** 3, -6 / dt ** 2, -6 / dt ** 2, 4 / dt], -1).view(-1, 2, 2) / density ** 2
        information = torch.stack([torch.kron(block, torch.eye(dimensions, dtype=torch.float64)) for block in blocks])
        super().__init__((variables, variables), index, {'dt': dt[:, None]}, information=information, **noise)

    def layout(self, groups):
        return groups[0].dof, {'dt': (1,)}

    def residual(self, x, data):
        (p, v), (p_next, v_next) = (z.chunk(2, -1) for z in x)
        return torch.cat([p_next - p - data['dt'] * v, v_next - v], -1)

    def jacobians(self, x, data):
        n = x[0].shape[-1]
        eye = torch.eye(n, dtype=torch.float64)
        first = -eye.expand(len(self), n, n).clone()
        first[:, :n // 2, n // 2:] = -data['dt'][..., None] * eye[:n // 2, :n // 2]
        return self.residual(x, data), [first, eye.expand(len(self), n, n)]


def interpolation(dt: Tensor, s: Tensor) -> Tensor:
    """Weights (M, 4) of p_i, v_i, p_j, v_j in the position at the part s in [0, 1] of the time dt from state i to j.

    Under Smoothness's prior the mean between two states is the cubic that meets both.
    """
    return torch.stack([1 - s ** 2 * (3 - 2 * s), dt * s * (1 - s) ** 2, s ** 2 * (3 - 2 * s), dt * s ** 2 * (s - 1)],
                       -1)


class Obstacle(Factors):
    """The position p(s) between two states is to keep a distance: residual max(0, clearance - d(p)).

    Args:
        variables: the set of the states.
        index: (M, 2) the states before and after.
        weights: (M, 4) as of interpolation().
        field: d, such as a `DistanceField`: points (M, d) -> metres (M,), differentiable.
        clearance: (M,) or a number, metres.
        noise: `sqrt_information`, as 1/σ of the distance kept, and the others of Factors.
    """

    def __init__(self, variables: str, index: Tensor, weights: Tensor, field: Callable[[Tensor], Tensor],
                 clearance: Tensor | float, **noise):
        clearance = torch.as_tensor(clearance, dtype=torch.float64).expand(len(index))[:, None]
        super().__init__((variables, variables), index, {'weights': weights, 'clearance': clearance}, **noise)
        self.field = field

    def layout(self, groups):
        return 1, {'weights': (4,), 'clearance': (1,)}

    def _position(self, x, data) -> Tensor:
        parts = [part for z in x for part in z.chunk(2, -1)]
        return sum(w * part for w, part in zip(data['weights'].split(1, -1), parts))

    def residual(self, x, data):
        return (data['clearance'] - self.field(self._position(x, data)).unsqueeze(-1)).clamp(min=0)

    def jacobians(self, x, data):
        distance, slope = self._distance(self._position(x, data))
        r = (data['clearance'] - distance.unsqueeze(-1)).clamp(min=0)
        slope = torch.where(r > 0, -slope, torch.zeros_like(slope))
        parts = [w * slope for w in data['weights'].split(1, -1)]
        return r, [torch.cat(parts[:2], -1).unsqueeze(-2), torch.cat(parts[2:], -1).unsqueeze(-2)]

    def _distance(self, p: Tensor) -> tuple[Tensor, Tensor]:
        if hasattr(self.field, 'with_gradient'):
            return self.field.with_gradient(p)
        with torch.enable_grad():
            wanted = p.requires_grad
            p = p if wanted else p.detach().requires_grad_()
            distance = self.field(p)
            slope, = torch.autograd.grad(distance.sum(), p, create_graph=wanted)
        return (distance, slope) if wanted else (distance.detach(), slope)
