"""The whole graph with inertial factors: keyframes are navigation states of the IMU."""
import torch
from numpy.typing import NDArray

from pypose_core.graph import NAV_STATE, FactorGraph, Factors, FramePrior, Imu, Prior
from pypose_core.lie import se3, so3

from .batch_job import BatchJob
from .config import BackEndConfig
from .graph_factors import TIGHT_SIGMA, make_factors
from .inertial import InertialLinks
from .solve_job import Solution

START_SIGMA = [30.0] * 3 + [0.05] * 3 + [0.5] * 3
"""m/s, rad/s and m/s^2: what is known of velocity and biases where no inertial factor leads to a keyframe."""
LEVEL_SIGMA = 0.3
"""rad of the first keyframe's roll and pitch as its odometry has them: gravity knows better."""
FAR = (1e3, 10.0)
"""m, and rad of heading, of the first keyframe of a map that absolute measurements place."""


class InertialJob(BatchJob):
    """A BatchJob over states (N, 16) instead of poses.

    Args:
        inertial: of the back-end; what is needed of it is copied.
        stamps_ns: (N,) of the keyframes.
    """

    def __init__(self, config: BackEndConfig, poses: NDArray, edges: dict[str, NDArray], priors: dict[str, NDArray],
                 inertial: InertialLinks, stamps_ns: NDArray, **limits):
        super().__init__(config, poses, edges, priors, **limits)
        self.source = inertial.source
        self._E = torch.from_numpy(self.source.T_base_imu)
        T_map_imu = se3.mul(torch.from_numpy(poses), self._E).numpy()
        self._states = torch.from_numpy(inertial.states(stamps_ns, T_map_imu))
        known = inertial.links['known'].copy()
        self._led = torch.from_numpy(known.nonzero()[0])
        self._free = torch.from_numpy((~known).nonzero()[0])
        self._rows = torch.from_numpy(inertial.links['row'][known])
        self.size = self.size[0], self.size[1] + len(self._led)

    def _build(self) -> tuple[FactorGraph, dict[str, tuple[Factors, NDArray]]]:
        E_inverse = se3.inv(self._E)
        factors = make_factors(self.config, self.edges, self.priors, body_frame=E_inverse)
        graph = FactorGraph()
        graph.add_variables('pose', NAV_STATE, self._states)
        for batch, _ in factors.values():
            graph.add(batch)
        if len(self._led):
            graph.add(Imu('pose', torch.stack([self._led - 1, self._led], 1), self._rows,
                          torch.tensor([0.0, 0.0, -self.source.gravity], dtype=torch.float64)))
        start = torch.tensor([0.0] * 3 + START_SIGMA[:3] + [0.0] * 3 + START_SIGMA[3:], dtype=torch.float64)
        weights = torch.where(start > 0, start.clamp(min=1e-9) ** -2, 0.0)
        at = self._states[self._free].clone()
        at[:, 7:10] = 0.0
        graph.add(Prior('pose', self._free, at, information=torch.diag(weights)))
        absolute = 'poses' in factors or 'positions' in factors
        graph.add(self._anchor(*(FAR if absolute else (TIGHT_SIGMA, TIGHT_SIGMA))))
        return graph, factors

    def _anchor(self, position: float, heading: float) -> FramePrior:
        """The first keyframe where it is, roll and pitch loosely."""
        measured = torch.from_numpy(self.poses[0].copy())
        axes = so3.matrix(measured[3:])
        turn = torch.diag(torch.tensor([LEVEL_SIGMA, LEVEL_SIGMA, heading], dtype=torch.float64) ** -2)
        information = torch.block_diag(torch.eye(3, dtype=torch.float64) * position ** -2, axes.mT @ turn @ axes)
        return FramePrior('pose', torch.tensor([0]), measured, information=information, frame=se3.inv(self._E))

    def _solution(self, graph: FactorGraph, **found) -> Solution:
        state = graph.values['pose']
        T_map_base = se3.mul(state[:, :7], se3.inv(self._E))
        T_map_base[:, 3:] /= T_map_base[:, 3:].norm(dim=1, keepdim=True)
        full, R = graph.marginals().single('pose', len(state) - 1), so3.matrix(state[-1, 3:7])
        # d p_base = d p_imu - R [l]x d theta with l the base in the IMU's frame; rotation about the map's axes.
        J = full.new_zeros(6, 15)
        J[:3, 6:9] = torch.eye(3, dtype=full.dtype)
        J[:3, :3] = -R @ so3.hat(se3.inv(self._E)[:3])
        J[3:, :3] = R
        return Solution(T_map_base.numpy(), (J @ full @ J.mT).numpy(), states=state.numpy().copy(), **found)
