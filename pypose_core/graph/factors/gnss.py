"""Positions in the world, of an antenna on a body."""
import torch
from torch import Tensor

from .base import Measured
from .frame import dimensions, frame, turned


class Gnss(Measured):
    """The position of an antenna was measured: residual t + R l - z.

    Args:
        variables: the set of the poses, navigation states, or points.
        index: (M,).
        measured: (M, n) in the world, in local Cartesian coordinates, m.
        lever_arm: (M, n) or (n,) l, the antenna in the axes of the body, m; zero by default.
        noise: information or sqrt_information (M, n, n), along the world's axes, and kernel, width, weight: as in
            Prior.
    """

    def __init__(self, variables: str, index: Tensor, measured: Tensor, *, lever_arm: Tensor | None = None, **noise):
        data = {'measured': measured, **({} if lever_arm is None else {'lever_arm': lever_arm})}
        super().__init__((variables,), index, data, **noise)

    def layout(self, groups):
        n = dimensions(groups[0])
        if n == 0 or ('lever_arm' in self.data and groups[0].rotation is None):
            raise ValueError(f'a GNSS factor with this data cannot be on variables of {groups[0]}')
        return n, {name: (n,) for name in self.data}

    def residual(self, x, data):
        body = frame(self.groups[0], x[0])
        if 'lever_arm' not in data:
            return body.t - data['measured']
        return body.t + (body.R @ data['lever_arm'][..., None])[..., 0] - data['measured']

    def jacobians(self, x, data):
        body = frame(self.groups[0], x[0])
        n = body.t.shape[-1]
        eye = torch.eye(n, dtype=body.t.dtype).expand(*body.t.shape, n)
        arm = data.get('lever_arm')
        # R Exp(d) l = R l - R [l]x d
        return self.residual(x, data), [body.tangent(eye, None if arm is None else -body.R @ turned(arm))]
