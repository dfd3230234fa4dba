"""Trajectories in continuous time: control poses of a B-spline as variables, measurements at any times as factors."""
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pypose_core.geometry.spline import BSpline
from pypose_core.lie import so3
from pypose_core.lie.group import LieGroup
from pypose_core.lie.groups import SE3 as Poses
from pypose_core.lie.groups import se3 as Twists

from .factor_graph import FactorGraph
from .factors import Residual
from .groups import SE3, Euclidean

WEIGHTS = ((5, 3, -3, 1), (1, 3, 3, -2), (0, 0, 0, 1))
"""Sixths of the polynomials in u by which the second, third and fourth control pose enter."""


def _bracket(a: Tensor, b: Tensor) -> Tensor:
    """The Lie bracket of twists [rho, phi] (M, 6)."""
    (rho, phi), (other_rho, other_phi) = a.split(3, -1), b.split(3, -1)
    return torch.cat([so3.cross(phi, other_rho) + so3.cross(rho, other_phi), so3.cross(phi, other_phi)], -1)


def curve(controls: Sequence[Tensor], u: Tensor, interval: float) -> tuple[LieGroup, Tensor, Tensor]:
    """Poses (M, 7), body velocities and accelerations (M, 6) [rho, phi] at u (M, 1) in [0, 1] between four control
    poses (M, 7) each."""
    X: LieGroup = Poses(controls[0])
    v = a = torch.zeros_like(controls[0][..., :6])
    for k, row in enumerate(WEIGHTS):
        d = (Poses(controls[k]).Inv() @ Poses(controls[k + 1])).Log().tensor()
        c = (row[0] + u * (row[1] + u * (row[2] + u * row[3]))) / 6
        dc = (row[1] + u * (2 * row[2] + u * 3 * row[3])) / (6 * interval)
        ddc = (2 * row[2] + u * 6 * row[3]) / (6 * interval ** 2)
        step = Twists(c * d).Exp()
        # v' = Ad(A⁻¹) v + λ̇ d; the derivative of Ad(A⁻¹) is -λ̇ ad(d) Ad(A⁻¹).
        carried = step.AdjT(Twists(v)).tensor()
        a = step.AdjT(Twists(a)).tensor() + dc * _bracket(carried, d) + ddc * d
        v = carried + dc * d
        X = X @ step
    return X, v, a


class SplineFactors(Residual):
    """Residuals of a pose, velocity and acceleration on the curve, differentiated backwards: one pass for each of their
    few components, over all factors at once.

    Args:
        function: (T, v, a, bias (M, 3) or None, *data) -> residual (M, e).
        variables, index: four control poses, and a bias where there is one.
        u: (M,) place in the segment.
        interval: seconds between control poses.
        data: (M, ...) each.
    """

    def __init__(self, function: Callable[..., Tensor], variables: Sequence[str], index: Tensor, u: Tensor,
                 interval: float, data: Sequence[Tensor], **noise):
        super().__init__(function, variables, index, data=[u[:, None], *data], **noise)
        self.interval = interval

    def residual(self, x, data):
        u, *rest = data.values()
        return self.function(*curve(x[:4], u, self.interval), x[4] if len(x) > 4 else None, *rest)

    def jacobians(self, x, data):
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            steps = [torch.zeros(len(self), group.dof, dtype=torch.float64, requires_grad=True)
                     for group in self.groups]
            moved = [(Poses(X) @ Twists(d).Exp()).tensor() if group is SE3 else X + d
                     for group, X, d in zip(self.groups, x, steps)]
            r = self.residual(moved, data)
            rows = [torch.autograd.grad(r[:, i].sum(), steps, retain_graph=True, create_graph=wanted,
                                        materialize_grads=True) for i in range(r.shape[1])]
        J = [torch.stack(columns, 1) for columns in zip(*rows)]
        return (r, J) if wanted else (r.detach(), J)


class SplineTrajectory:
    """A cumulative cubic B-spline T_world_body(t) whose control poses are variables of a graph.

        trajectory = SplineTrajectory(graph, controls, interval=0.1)
        trajectory.add_poses(times, poses, information=Omega)
        trajectory.add_gyroscope(times, rates, bias='gyroscope bias')
        graph.optimize()
        trajectory.spline(t), trajectory.spline.velocity(t)

    Velocities and accelerations are the curve's own, in closed form. Times are seconds from the curve's start, at most
    (N - 3) `interval`; measurements need not lie on knots, nor be as many as they.

    Args:
        graph: gets a set `name` of SE3 variables.
        controls: (N, 7) first guess, N >= 4: control pose i + 1 is near the curve at time i `interval`.
        interval: seconds between control poses.
        name: of the set.

    Source: Sommer et al., Efficient derivative computation for cumulative B-splines on Lie groups, CVPR 2020.
    """

    def __init__(self, graph: FactorGraph, controls: Tensor, interval: float, *, name: str = 'control'):
        if len(controls) < 4 or not interval > 0:
            raise ValueError(f'a cubic B-spline needs four control poses or more and a positive interval, got '
                             f'{len(controls)} and {interval}')
        graph.add_variables(name, SE3, controls)
        self.graph, self.interval, self.name = graph, float(interval), name

    @property
    def duration(self) -> float:
        """Seconds of the curve."""
        return (len(self.graph.values[self.name]) - 3) * self.interval

    @property
    def spline(self) -> BSpline:
        """The curve at the graph's present values."""
        return BSpline(Poses(self.graph.values[self.name]), self.interval)

    def add_poses(self, times: Tensor, poses: Tensor, **noise) -> SplineFactors:
        """T_world_body (M, 7) at times (M,): residual Log(Z⁻¹ T), information in the tangent [rho, phi] at Z."""
        return self._add(lambda T, v, a, b, Z: (Poses(Z).Inv() @ T).Log().tensor(), times, (poses,), **noise)

    def add_positions(self, times: Tensor, positions: Tensor, lever_arm: Tensor | None = None,
                      **noise) -> SplineFactors:
        """Positions (M, 3) in the world of a point that is at `lever_arm` (3,) in the body: residual t + R l - z."""
        arm = torch.zeros(3) if lever_arm is None else torch.as_tensor(lever_arm)
        arms = arm.to(torch.float64).expand(len(times), 3)
        return self._add(lambda T, v, a, b, z, arm: T.Act(arm) - z, times, (positions, arms), **noise)

    def add_gyroscope(self, times: Tensor, rates: Tensor, *, bias: str | None = None, **noise) -> SplineFactors:
        """Angular rates (M, 3) of the body, rad/s: residual ω + b - z.

        Args:
            bias: a set of one R3 variable for b; made at zero where the graph has none of this name. None: no bias.
        """
        return self._add(lambda T, v, a, b, z: v[:, 3:] - z if b is None else v[:, 3:] + b - z, times, (rates,), bias,
                         **noise)

    def add_accelerometer(self, times: Tensor, forces: Tensor, *, gravity: float = 9.80665, bias: str | None = None,
                          **noise) -> SplineFactors:
        """Specific forces (M, 3) in the body, m/s²: residual Rᵀ (p̈ + [0, 0, gravity]) + b - z; `bias` as above.

        The body is where the accelerometer is: with v = [ν, ω], Rᵀ p̈ = ν̇ + ω × ν.
        """
        up = torch.tensor([0, 0, gravity], dtype=torch.float64)

        def residual(T, v, a, b, z):
            felt = a[:, :3] + so3.cross(v[:, 3:], v[:, :3]) + T.rotation().Inv().Act(up.expand(len(z), 3)) - z
            return felt if b is None else felt + b
        return self._add(residual, times, (forces,), bias, **noise)

    def _add(self, residual, times: Tensor, data: tuple[Tensor, ...], bias: str | None = None,
             **noise) -> SplineFactors:
        times = torch.as_tensor(times, dtype=torch.float64)
        last = self.duration
        if times.dim() != 1 or not bool(((times >= 0) & (times <= last * (1 + 1e-12))).all()):
            raise ValueError(f'times must be (M,) within [0, {last:g}] s of the curve')
        segment = (times / self.interval).floor().long().clamp(max=len(self.graph.values[self.name]) - 4)
        index = segment[:, None] + torch.arange(4)
        names: tuple[str, ...] = (self.name,) * 4
        if bias is not None:
            if bias not in self.graph.groups:
                self.graph.add_variables(bias, Euclidean(3), torch.zeros(1, 3))
            names, index = (*names, bias), torch.cat([index, torch.zeros_like(index[:, :1])], 1)
        data = tuple(torch.as_tensor(z).as_subclass(Tensor).to(torch.float64) for z in data)
        return self.graph.add(SplineFactors(residual, names, index, times / self.interval - segment, self.interval,
                                            data, **noise))
