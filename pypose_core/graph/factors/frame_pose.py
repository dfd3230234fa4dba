"""Poses of a frame that is fixed to the body whose navigation state is estimated."""
from collections.abc import Sequence

import torch
from torch import Tensor

from pypose_core.lie import se3, so3

from ..groups import NAV_STATE, SE3
from .base import Measured


class _FramePose(Measured):
    """A measurement Z in SE(3) of one frame or between two, on navigation states.

    A state's pose is T_world_body; the frame's is T_world_body E. Perturbing the body's by d on the right perturbs the
    frame's by Ad(E^-1) d, and the body's d is [R' dp, dtheta] of the state's tangent.
    """

    positions: int

    def __init__(self, variables: str, index: Tensor, measured: Tensor, *, frame: Tensor | None = None, **noise):
        frame = torch.tensor(SE3.identity, dtype=torch.float64) if frame is None else frame
        super().__init__((variables,) * self.positions, index, {'measured': measured, 'frame': frame}, **noise)

    def layout(self, groups):
        if any(group is not NAV_STATE for group in groups):
            raise ValueError(f'poses of a frame on the body are measured of NAV_STATE variables, not {groups[0]}')
        return 6, {'measured': (7,), 'frame': (7,)}

    def _frames(self, x: Sequence[Tensor], data) -> list[Tensor]:
        return [se3.mul(state[..., :7], data['frame']) for state in x]

    @staticmethod
    def _predicted(frames: Sequence[Tensor]) -> Tensor:
        return frames[0] if len(frames) == 1 else SE3.relative(*frames)

    def residual(self, x, data):
        return SE3.difference(data['measured'], self._predicted(self._frames(x, data)))

    def jacobians(self, x, data):
        T = self._predicted(self._frames(x, data))
        r = SE3.difference(data['measured'], T)
        J = SE3.right_jacobian(r)
        by_frame = [J] if len(x) == 1 else [-J @ SE3.adjoint_inverse(T), J]
        carried = SE3.adjoint_inverse(data['frame'])
        out = []
        for by, state in zip(by_frame, x):
            by_body, full = by @ carried, r.new_zeros(*r.shape, NAV_STATE.dof)
            full[..., NAV_STATE.position_step] = by_body[..., :3] @ so3.matrix(state[..., 3:7]).mT
            full[..., NAV_STATE.rotation_step] = by_body[..., 3:]
            out.append(full)
        return r, out


class FramePrior(_FramePose):
    """The pose of the frame in the world was measured as Z: residual Log(Z^-1 T_i E).

    Args:
        variables: the set of the navigation states.
        index: (M,).
        measured: (M, 7) or (7,).
        frame: (M, 7) or (7,) E, the pose of the frame in the body; the body itself by default.
        noise: information or sqrt_information (M, 6, 6) in the tangent at Z, and kernel, width, weight: as in Prior.
    """

    positions = 1


class FrameBetween(_FramePose):
    """The pose of the frame of j in that of i was measured as Z: residual Log(Z^-1 (T_i E)^-1 T_j E); (M, 2) index,
    else as FramePrior."""

    positions = 2
