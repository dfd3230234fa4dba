"""Inertial measurements between two navigation states."""
import torch
from torch import Tensor

from pypose_core import native
from pypose_core.inertial import Preintegrated
from pypose_core.inertial.preintegrated import ROW
from pypose_core.lie import so3

from ..groups import NAV_STATE, SE23_BIAS
from .base import Factors
from .navigation import evaluated, inertial_inputs


class Imu(Factors):
    """Preintegrated samples between the navigation states i and j, with the random walk of the biases. Residual (15)

        rotation  Log(dR' R_i' R_j)                                    velocity  R_i' (v_j - v_i - g t) - dv
        position  R_i' (p_j - p_i - v_i t - g t^2 / 2) - dp            biases    b_j - b_i

    with dR, dv, dp to first order at the biases of i.

    Args:
        variables: the set of the navigation states, NAV_STATE or SE23_BIAS.
        index: (M, 2) i and j.
        preintegrated: from `pypose_core.inertial.preintegrate` with noise, a batch of M; or its packed rows (M, 296).
        gravity: (3,) in the world, (0, 0, -9.81) where z is up, m/s^2.
        noise: information (M, 15, 15), by default the inverse of the preintegrated covariance; kernel, width, weight:
            as in Prior.

    Source: Forster et al., "On-Manifold Preintegration for Real-Time Visual-Inertial Odometry", TRO 2017, (45), with
    the joint covariance of motion and biases as in Carlone et al., ICRA 2014.
    """

    def __init__(self, variables: str, index: Tensor, preintegrated: Preintegrated | Tensor, gravity: Tensor, **noise):
        row = preintegrated.row() if isinstance(preintegrated, Preintegrated) else preintegrated
        if noise.get('information') is None and noise.get('sqrt_information') is None:
            P = row.detach()[..., ROW['covariance']].unflatten(-1, (15, 15))
            L, failed = torch.linalg.cholesky_ex(P)
            if bool(failed.any()):
                raise ValueError('a preintegrated covariance is not positive definite: it needs all five noise '
                                 'densities, and at least one sample')
            noise['information'] = torch.cholesky_inverse(L)
        super().__init__((variables, variables), index, {'preintegrated': row, 'gravity': gravity}, **noise)

    def layout(self, groups):
        if groups[0] not in (NAV_STATE, SE23_BIAS):
            raise ValueError(f'inertial factors are between NAV_STATE or SE23_BIAS variables, not {groups[0]}')
        return 15, {'preintegrated': (296,), 'gravity': (3,)}

    def residual(self, x, data):
        return self._terms(*x, data)[0]

    @staticmethod
    def _terms(a: Tensor, b: Tensor, data) -> tuple[Tensor, ...]:
        """The residual; R_i' R_j as a quaternion; motion without gravity, velocity and position, in the frame of i."""
        row, g = data['preintegrated'], data['gravity']
        delta = Preintegrated.from_row(row)
        dR, dv, dp = delta.corrected(a[..., 10:])
        t = delta.dt[..., None]
        qi_inverse = so3.inv(a[..., 3:7])
        q = so3.mul(qi_inverse, b[..., 3:7])
        v = so3.act(qi_inverse, b[..., 7:10] - a[..., 7:10] - g * t)
        p = so3.act(qi_inverse, b[..., :3] - a[..., :3] - a[..., 7:10] * t - g * (t * t / 2))
        r = torch.cat([so3.log(so3.mul(so3.inv(dR), q)), v - dv, p - dp, b[..., 10:] - a[..., 10:]], -1)
        return r, q, v, p

    def unwhitened(self, x, *, jacobian):
        if not native.available or self.groups[0] is not NAV_STATE:
            return super().unwhitened(x, jacobian=jacobian)
        return evaluated(x, inertial_inputs(self.data), jacobian=jacobian)

    def jacobians(self, x, data):
        r, q, v, p = self._terms(*x, data)
        delta = Preintegrated.from_row(data['preintegrated'])
        B, t = delta.bias_jacobian, delta.dt[:, None, None]
        Ji, Jj = r.new_zeros(len(r), 15, 15), r.new_zeros(len(r), 15, 15)
        Ri_T, eye = so3.matrix(x[0][:, 3:7]).mT, torch.eye(6, dtype=r.dtype)
        inverse = so3.jr_inv(r[:, :3])
        Jj[:, :3, :3] = inverse
        Ji[:, :3, :3] = -inverse @ so3.matrix(q).mT
        # Exp(r) = dR(b)' R_i' R_j with dR(b) = dR Exp(B db)
        change = (B[:, :3] @ (x[0][:, 10:] - delta.bias)[..., None])[..., 0]
        Ji[:, :3, 9:] = -inverse @ so3.matrix(so3.exp(r[:, :3])).mT @ so3.jr(change) @ B[:, :3]
        Ji[:, 3:6, :3], Ji[:, 6:9, :3] = so3.hat(v), so3.hat(p)
        Ji[:, 3:6, 3:6], Jj[:, 3:6, 3:6] = -Ri_T, Ri_T
        Ji[:, 6:9, 3:6], Ji[:, 6:9, 6:9], Jj[:, 6:9, 6:9] = -t * Ri_T, -Ri_T, Ri_T
        Ji[:, 3:9, 9:] = -B[:, 3:]
        Ji[:, 9:, 9:], Jj[:, 9:, 9:] = -eye, eye
        if self.groups[0] is SE23_BIAS:
            Ji, Jj = Ji @ _along_the_body(x[0]), Jj @ _along_the_body(x[1])
        return r, [Ji, Jj]


def _along_the_body(x: Tensor) -> Tensor:
    """(M, 15, 15) perturbations of NAV_STATE by those of SE23_BIAS."""
    R = so3.matrix(x[:, 3:7])
    out = torch.eye(15, dtype=x.dtype).repeat(len(x), 1, 1)
    out[:, :9, :9] = 0
    out[:, :3, 3:6], out[:, 3:6, 6:9], out[:, 6:9, :3] = torch.eye(3, dtype=x.dtype), R, R
    return out
