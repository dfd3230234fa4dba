"""Points of space seen by cameras, as pixels."""
import torch
from torch import Tensor

from ..groups import SE3
from .base import EMPTY, Measured
from .frame import dimensions, frame, turned
from .seen import Seen


class Reprojection(Seen):
    """A calibrated pinhole camera, looking along its z axis, saw the point at a pixel: with u in the camera's axes

        residual [f_x u_x / u_z + c_x, f_y u_y / u_z + c_y] - z.

    Args:
        variables: the sets of the poses and of the points.
        index: (M, 2) pose and point.
        measured: (M, 2) z, pixels.
        calibration: (M, 4) or (4,) [f_x, f_y, c_x, c_y], pixels.
        sensor: T_body_camera, as in Landmark; identity by default: poses T_world_camera.
        noise: as in Prior.
    """

    def __init__(self, variables: tuple[str, str], index: Tensor, measured: Tensor, calibration: Tensor, **noise):
        super().__init__(variables, index, measured, **noise)
        self.data['calibration'] = torch.as_tensor(calibration).as_subclass(Tensor).detach()

    def layout(self, groups):
        size, shapes = super().layout(groups)
        if dimensions(groups[0]) != 3:
            raise ValueError(f'a camera sees points of space, not of {groups[1]}')
        return size, {**shapes, 'calibration': (4,)}

    def sizes(self, n):
        return 2, 2

    def observe(self, u, data):
        focal, centre = data['calibration'].split(2, -1)
        return focal * u[..., :2] / u[..., 2:] + centre - data['measured']

    def slope(self, u, data):
        f = data['calibration'][..., :2] / u[..., 2:]
        return torch.cat([torch.diag_embed(f), (-f * u[..., :2] / u[..., 2:])[..., None]], -1)


class BalReprojection(Measured):
    """A camera with focal length and radial distortion to be estimated saw the point at a pixel. It looks along -z:

        p = -u[:2] / u_z,    residual f (1 + k1 |p|^2 + k2 |p|^4) p - z

    with u = T_world_camera^-1 point. The model of "Bundle Adjustment in the Large", pixels from the image's centre.

    Args:
        variables: the sets of poses T_world_camera (SE3), of cameras [f, k1, k2] (R^3), and of points (R^3).
        index: (M, 3) pose, camera and point.
        measured: (M, 2) z, pixels.
        noise: as in Prior.
    """

    def __init__(self, variables: tuple[str, str, str], index: Tensor, measured: Tensor, **noise):
        super().__init__(variables, index, {'measured': measured}, **noise)

    def layout(self, groups):
        if groups[0] is not SE3 or [group.name for group in groups[1:]] != ['R3', 'R3']:
            raise ValueError(f'BalReprojection factors are on SE3, R3 and R3 variables, not on {groups}')
        return 2, {'measured': (2,)}

    def residual(self, x, data):
        u = frame(self.groups[0], x[0]).seen(x[2])
        f, k1, k2 = x[1].split(1, -1)
        p = -u[..., :2] / u[..., 2:]
        s = p.square().sum(-1, keepdim=True)
        return f * (1 + s * (k1 + k2 * s)) * p - data['measured']

    def jacobians(self, x, data):
        pose = frame(self.groups[0], x[0])
        u = pose.seen(x[2])
        f, k1, k2 = x[1].split(1, -1)
        p = -u[..., :2] / u[..., 2:]
        s = p.square().sum(-1, keepdim=True)
        d = 1 + s * (k1 + k2 * s)
        by_p = (f * d)[..., None] * torch.eye(2, dtype=u.dtype) + \
            (2 * f * (k1 + 2 * k2 * s))[..., None] * p[..., :, None] * p[..., None, :]
        by_u = -by_p @ torch.cat([torch.eye(2, dtype=u.dtype).expand(*p.shape, 2), p[..., None]], -1) / u[..., 2:, None]
        by_camera = torch.stack([d * p, f * s * p, f * s * s * p], -1)
        by_point = by_u @ pose.R.mT
        return self.residual(x, data), [pose.tangent(-by_point, by_u @ turned(u)), by_camera, by_point]

    def linearize(self, values, places, H, g):
        if not SE3.native:
            return super().linearize(values, places, H, g)
        columns, slots = ((), EMPTY) if places is None else (places.columns, places.slots)
        return torch.ops.pypose.graph_linearize_bal(
            *(values[name] for name in self.variables), self.index, self.measured,
            EMPTY if self.unit_information else self.information, EMPTY if self.weight is None else self.weight,
            self.kernel.value, self.width, columns, slots, EMPTY if places is None else H, g)
