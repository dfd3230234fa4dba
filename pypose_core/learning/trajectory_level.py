"""A graph of navigation states as the lower level: corrected samples and pose measurements in, the trajectory out.

    pose        pose                    pose
      |           |                       |
    state --imu-- state --imu-- state --imu-- state ...
"""
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pypose_core.graph import NAV_STATE, FactorGraph, Imu, LevenbergMarquardt, Prior, SolverLayer
from pypose_core.inertial import Preintegrated

from .imu_corrector import CorrectedImu

#: Least covariance of an inertial factor, rotation, velocity, position, biases: an interval of few samples leaves
#: directions in which its own is singular.
FLOOR = torch.tensor([1e-12] * 3 + [1e-9] * 3 + [1e-8] * 3 + [1e-14] * 6, dtype=torch.float64)


@dataclass(frozen=True)
class KeyframeWindow:
    """K keyframes and the raw samples between them. All float64 but for the indices."""

    samples: Tensor
    """(T, 6) raw samples, context before the first keyframe included."""
    rows: Tensor
    """(K - 1, F + 1) which samples belong to each interval, its two ends included."""
    dt: Tensor
    """(K - 1, F) s between them; 0 s pads intervals to one length."""
    states: Tensor
    """(K, 16) guess of the NavStates."""
    poses: Tensor
    """(K, 7) T_world_imu as measured, or as the back-end estimates it."""
    used: Tensor
    """(K,) bool: which of the poses the lower level may look at; the others are held out to judge it."""

    @property
    def key(self) -> tuple:
        return tuple(self.used.tolist())


@dataclass(frozen=True)
class TrajectorySolution:
    """What the lower level found."""

    states: Tensor
    """(K, 16), differentiable by the network through the solver."""
    inertial: Tensor
    """(K - 1, 296) rows of the inertial factors, differentiable by the network."""
    information: Tensor
    """(K - 1, 15, 15) of them."""
    factors: Imu
    """Their form."""
    status: str


class TrajectoryLevel:
    """Estimates a window's trajectory from what a front-end makes of its samples.

    Args:
        gravity: (3,) in the world, m/s².
        gradient: of the trajectory: 'implicit', 'unroll' or 'truncated', see `SolverLayer`.
        steps: of the latter two; 1 with 'truncated' is the one-step gradient.
        pose_sigma: rad, m of the pose measurements.
        bias_sigma: rad/s, m/s² of the first keyframe's biases, about zero: what the front-end may leave of them.
    """

    def __init__(self, gravity: Tensor, *, gradient: str = 'implicit', steps: int = 1,
                 pose_sigma: tuple[float, float] = (0.01, 0.02), bias_sigma: tuple[float, float] = (0.01, 0.2),
                 solver: LevenbergMarquardt | None = None):
        self.gravity = gravity.to(torch.float64)
        self.gradient, self.steps = gradient, steps
        self.solver = solver or LevenbergMarquardt(max_iterations=20)
        rotation, position = pose_sigma
        zero = torch.zeros(3, dtype=torch.float64)
        self.pose_information = torch.diag(torch.cat([zero + rotation ** -2, zero, zero + position ** -2, zero, zero]))
        self.bias_information = torch.diag(torch.cat([zero, zero, zero, zero + bias_sigma[0] ** -2,
                                                      zero + bias_sigma[1] ** -2]))
        self._layers: dict[tuple, SolverLayer] = {}

    def __call__(self, network: Callable[[Tensor], CorrectedImu], window: KeyframeWindow) -> TrajectorySolution:
        motion = intervals(network, window)
        assert motion.covariance is not None    # CorrectedImu has the noise
        information = torch.cholesky_inverse(torch.linalg.cholesky(motion.covariance + torch.diag(FLOOR)))
        row = motion.row()
        layer = self._layer(window, row, information)
        measured = torch.cat([window.poses, window.states.new_zeros(len(window.poses), 9)], 1)[window.used]
        states = layer(row, information, measured, start={'state': window.states})['state']
        imu = layer.inputs[0][0]
        assert isinstance(imu, Imu)     # as _layer() makes it
        return TrajectorySolution(states, row, information, imu, str(layer.result))

    def _layer(self, window: KeyframeWindow, row: Tensor, information: Tensor) -> SolverLayer:
        """The graph of this pattern of keyframes; its analysis is made once."""
        if not bool(window.used[0]):
            raise ValueError('the first keyframe is held out: its pose is where the trajectory begins')
        if window.key not in self._layers:
            graph, K = FactorGraph(), len(window.states)
            graph.add_variables('state', NAV_STATE, window.states)
            index = torch.arange(K)
            imu = graph.add(Imu('state', torch.stack([index[:-1], index[1:]], 1), row, self.gravity,
                                information=information.detach()))
            known = self.pose_information.repeat(int(window.used.sum()), 1, 1)
            known[0] += self.bias_information
            pose = graph.add(Prior('state', index[window.used], window.states[window.used], information=known))
            self._layers[window.key] = SolverLayer(
                graph, [(imu, 'preintegrated'), (imu, 'information'), (pose, 'measured')], gradient=self.gradient,
                steps=self.steps, solver=self.solver)
        return self._layers[window.key]


def intervals(network: Callable[[Tensor], CorrectedImu], window: KeyframeWindow) -> Preintegrated:
    """The window's samples, corrected in one pass and preintegrated between the keyframes."""
    part = network(window.samples).part(window.rows)
    return replace(part, bias_sigma=torch.zeros_like(part.bias_sigma)).preintegrate(window.dt)


def held_out_positions(solution: TrajectorySolution, window: KeyframeWindow) -> Tensor:
    """Mean squared distance in m² from the poses that were held out: supervision by ground truth or by the back-end."""
    away = ~window.used
    return (solution.states[away, :3] - window.poses[away, :3]).square().sum(1).mean()


def consistency(solution: TrajectorySolution, window: KeyframeWindow) -> Tensor:
    """No truth: how badly inertial factors and pose measurements agree, at the trajectory that suits both best.

        mean over the inertial factors of (r' Omega r - log det Omega) / 30

    The trajectory minimizes the first term (with that of the poses, on which the network has no influence), so its own
    change contributes nothing to the gradient, and it counts as a constant.
    """
    x = solution.states.detach()
    r = solution.factors.residual([x[:-1], x[1:]], {'preintegrated': solution.inertial,
                                                    'gravity': solution.factors.data['gravity']})
    s = (r[:, None, :] @ solution.information @ r[..., None])[:, 0, 0]
    return (s - torch.linalg.slogdet(solution.information)[1]).mean() / 30
