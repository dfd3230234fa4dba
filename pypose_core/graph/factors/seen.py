"""Points seen from poses: their coordinates, their bearing, their distance.

A sensor at T_body_sensor on a body at T_world_body sees the point p of the world at u in the
sensor's axes: u = T_body_sensor^-1 T_world_body^-1 p. The point is a variable of R^n, or the origin of another pose.
"""
from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from ..groups import SE2, SE3
from .base import Measured
from .frame import Frame, dimensions, frame, posed, turned


class Seen(Measured):
    """Residuals of u, the point in the axes of the sensor.

    Args:
        variables: the sets of the poses and of the points.
        index: (M, 2) pose and point.
        measured: (M, ...).
        sensor: (M, storage) or (storage,) T_body_sensor, as a value of SE3 or SE2; identity by default.
        noise: information or sqrt_information, kernel, width, weight: as in Prior.
    """

    def __init__(self, variables: tuple[str, str], index: Tensor, measured: Tensor, *, sensor: Tensor | None = None,
                 **noise):
        super().__init__(variables, index, {'measured': measured, **({} if sensor is None else {'sensor': sensor})},
                         **noise)

    def layout(self, groups):
        n = dimensions(groups[0])
        if not posed(groups[0]) or dimensions(groups[1]) != n:
            raise ValueError(f'{type(self).__name__} factors need a pose and a point or pose of the same space, not '
                             f'{groups[0]} and {groups[1]}')
        size, measured = self.sizes(n)
        sensor = {'sensor': (7 if n == 3 else 4,)} if 'sensor' in self.data else {}
        return size, {'measured': (measured,), **sensor}

    @abstractmethod
    def sizes(self, n: int) -> tuple[int, int]:
        """Numbers in a residual and in a measurement, in n dimensions."""

    @abstractmethod
    def observe(self, u: Tensor, data: Mapping[str, Tensor]) -> Tensor:
        """(M, e) residual of points u (M, n) in the axes of the sensor."""

    @abstractmethod
    def slope(self, u: Tensor, data: Mapping[str, Tensor]) -> Tensor:
        """(M, e, n) derivative of `observe` by u."""

    def _point(self, pose: Frame, p: Tensor, data: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        body = pose.seen(p)
        if 'sensor' not in data:
            return body, body, None
        sensor = frame(SE3 if body.shape[-1] == 3 else SE2, data['sensor'])
        return sensor.seen(body), body, sensor.axes.mT

    def residual(self, x, data):
        pose, point = (frame(group, X) for group, X in zip(self.groups, x))
        return self.observe(self._point(pose, point.t, data)[0], data)

    def jacobians(self, x, data):
        pose, point = (frame(group, X) for group, X in zip(self.groups, x))
        u, body, turn = self._point(pose, point.t, data)
        J = self.slope(u, data)
        J = J if turn is None else J @ turn
        by_point = J @ pose.R.mT
        return self.observe(u, data), [pose.tangent(-by_point, J @ turned(body)), point.tangent(by_point)]


class Landmark(Seen):
    """The coordinates of the point were measured: residual u - z, z (M, n). In g2o's files EDGE_SE2_XY and
    EDGE_SE3_TRACKXYZ."""

    def sizes(self, n):
        return n, n

    def observe(self, u, data):
        return u - data['measured']

    def slope(self, u, data):
        return torch.eye(u.shape[-1], dtype=u.dtype).expand(*u.shape, -1)


class Range(Seen):
    """The distance was measured: residual |u| - z, z (M, 1), m; without a derivative at 0."""

    def sizes(self, n):
        return 1, 1

    def observe(self, u, data):
        return u.norm(dim=-1, keepdim=True) - data['measured']

    def slope(self, u, data):
        return (u / u.norm(dim=-1, keepdim=True))[..., None, :]


class Bearing(Seen):
    """The direction was measured.

    In the plane z (M, 1) is an angle from the x axis, rad, and the residual atan2(u_y, u_x) - z, wrapped. In space z
    (M, 3) is a vector along the direction, and the residual is the rotation that takes z to u as a vector in the plane
    orthogonal to z: the angle between them in length, in two orthogonal coordinates. As GTSAM's; not defined at u = 0
    nor opposite to z.
    """

    def sizes(self, n):
        return (1, 1) if n == 2 else (2, 3)

    def observe(self, u, data):
        z = data['measured']
        if u.shape[-1] == 2:
            x, y, c, s = u[..., :1], u[..., 1:], z.cos(), z.sin()
            return torch.atan2(c * y - s * x, c * x + s * y)
        w, _, z = _split(u, z)
        return _angle_over_sine(w, (z * u).sum(-1, keepdim=True))[0] * w

    def slope(self, u, data):
        if u.shape[-1] == 2:
            return torch.stack([-u[..., 1], u[..., 0]], -1)[..., None, :] / u.square().sum(-1)[..., None, None]
        w, B, z = _split(u, data['measured'])
        f, by_s = _angle_over_sine(w, c := (z * u).sum(-1, keepdim=True))
        by_w = f[..., None] * torch.eye(2, dtype=u.dtype) + by_s[..., None] * w[..., :, None] * w[..., None, :]
        by_c = -w / (w.square().sum(-1, keepdim=True) + c * c)
        return by_w @ B.mT + by_c[..., :, None] * z[..., None, :]


def _split(u: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """w = B' u (M, 2), the basis B (M, 3, 2) of the plane orthogonal to z, and z as a unit vector."""
    z = z / z.norm(dim=-1, keepdim=True)
    least = torch.nn.functional.one_hot(z.detach().abs().argmin(-1), 3).to(z.dtype)
    first = torch.linalg.cross(z, least)
    first = first / first.norm(dim=-1, keepdim=True)
    B = torch.stack([first, torch.linalg.cross(z, first)], -1)
    return (u[..., None, :] @ B)[..., 0, :], B, z


def _angle_over_sine(w: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """f = atan2(s, c) / s with s = |w|, and (df/ds) / s; by their series where s is small."""
    s2 = w.square().sum(-1, keepdim=True)
    near = (s2 < 1e-6 * c * c) & (c > 0)
    one = torch.ones_like(c)
    a, s = torch.where(near, c, one), torch.where(near, one, s2).sqrt()
    x = s2 / (a * a)
    f = torch.where(near, (1 - x * (1 / 3 - x / 5)) / a, torch.atan2(s, c) / s)
    return f, torch.where(near, (4 * x / 5 - 2 / 3) / a ** 3, (c / (s2 + c * c) - f) / (s * s))
