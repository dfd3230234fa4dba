"""Trajectories in continuous time: control poses of a B-spline as variables, measurements at any times as factors."""
import torch
from torch import Tensor

from pypose_core.geometry.spline import BSpline
from pypose_core.lie import se3, so3
from pypose_core.lie.groups import SE3 as Poses

from .factor_graph import FactorGraph
from .factors import Residual
from .groups import SE3, Euclidean

WEIGHTS = ((5, 3, -3, 1), (1, 3, 3, -2), (0, 0, 0, 1))
"""Sixths of the polynomials in u by which the second, third and fourth control pose enter."""


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """The Lie bracket of twists [rho, phi]."""
    (rho, phi), (other_rho, other_phi) = a.split(3, -1), b.split(3, -1)
    return torch.cat([so3.cross(phi, other_rho) + so3.cross(rho, other_phi), so3.cross(phi, other_phi)], -1)


def curve(controls: tuple[Tensor, ...], u: Tensor, interval: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pose (7,), body velocity and body acceleration (6,) [rho, phi] at u in [0, 1] between four control poses (7,)."""
    X = controls[0]
    v = a = X.new_zeros(6)
    for k, row in enumerate(WEIGHTS):
        d = se3.log(se3.mul(se3.inv(controls[k]), controls[k + 1]))
        c = (row[0] + u * (row[1] + u * (row[2] + u * row[3]))) / 6
        dc = (row[1] + u * (2 * row[2] + u * 3 * row[3])) / (6 * interval)
        ddc = (2 * row[2] + u * 6 * row[3]) / (6 * interval ** 2)
        step = se3.exp(c * d)
        # v' = Ad(A⁻¹) v + λ̇ d; the derivative of Ad(A⁻¹) is -λ̇ ad(d) Ad(A⁻¹).
        carried = se3.adjt(step, v)
        a = se3.adjt(step, a) + dc * _cross(carried, d) + ddc * d
        v = carried + dc * d
        X = se3.mul(X, step)
    return X, v, a


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

    def add_poses(self, times: Tensor, poses: Tensor, **noise) -> Residual:
        """T_world_body (M, 7) at times (M,): residual Log(Z⁻¹ T), information in the tangent [rho, phi] at Z."""
        return self._add(lambda T, v, a, Z: se3.log(se3.mul(se3.inv(Z), T)), times, (poses,), **noise)

    def add_positions(self, times: Tensor, positions: Tensor, lever_arm: Tensor | None = None, **noise) -> Residual:
        """Positions (M, 3) in the world of a point that is at `lever_arm` (3,) in the body: residual t + R l - z."""
        arm = torch.zeros(3) if lever_arm is None else torch.as_tensor(lever_arm)
        arms = arm.to(torch.float64).expand(len(times), 3)
        return self._add(lambda T, v, a, z, arm: se3.act(T, arm) - z, times, (positions, arms), **noise)

    def add_gyroscope(self, times: Tensor, rates: Tensor, *, bias: str | None = None, **noise) -> Residual:
        """Angular rates (M, 3) of the body, rad/s: residual ω + b - z.

        Args:
            bias: a set of one R3 variable for b; made at zero where the graph has none of this name. None: no bias.
        """
        return self._add(lambda T, v, a, *rest: v[3:] - rest[-1] + sum(rest[:-1]), times, (rates,), bias, **noise)

    def add_accelerometer(self, times: Tensor, forces: Tensor, *, gravity: float = 9.80665, bias: str | None = None,
                          **noise) -> Residual:
        """Specific forces (M, 3) in the body, m/s²: residual Rᵀ (p̈ + [0, 0, gravity]) + b - z; `bias` as above.

        The body is where the accelerometer is: with v = [ν, ω], Rᵀ p̈ = ν̇ + ω × ν.
        """
        def residual(T, v, a, *rest):
            up = torch.stack([torch.zeros_like(T[0]), torch.zeros_like(T[0]), torch.full_like(T[0], gravity)])
            felt = a[:3] + so3.cross(v[3:], v[:3]) + so3.act(so3.inv(T[3:]), up)
            return felt - rest[-1] + sum(rest[:-1])
        return self._add(residual, times, (forces,), bias, **noise)

    def _add(self, residual, times: Tensor, data: tuple[Tensor, ...], bias: str | None = None, **noise) -> Residual:
        times = torch.as_tensor(times, dtype=torch.float64)
        last = self.duration
        if times.dim() != 1 or not bool(((times >= 0) & (times <= last * (1 + 1e-12))).all()):
            raise ValueError(f'times must be (M,) within [0, {last:g}] s of the curve')
        segment = (times / self.interval).floor().long().clamp(max=len(self.graph.values[self.name]) - 4)
        u = times / self.interval - segment
        interval = torch.full_like(u, self.interval)
        index = segment[:, None] + torch.arange(4)
        names = (self.name,) * 4
        if bias is not None:
            if bias not in self.graph.groups:
                self.graph.add_variables(bias, Euclidean(3), torch.zeros(1, 3))
            names, index = (*names, bias), torch.cat([index, torch.zeros_like(index[:, :1])], 1)
        count = len(names)

        def function(*rest: Tensor) -> Tensor:
            return residual(*curve(rest[:4], *rest[count:count + 2]), *rest[4:count], *rest[count + 2:])
        data = tuple(torch.as_tensor(z).as_subclass(Tensor).to(torch.float64) for z in data)
        return self.graph.add(Residual(function, names, index, data=(u, interval, *data), **noise))
