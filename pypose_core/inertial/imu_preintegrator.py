"""PyPose's IMUPreintegrator: IMU samples in, the motion after each of them and its covariance out."""
import torch
from torch import Tensor, nn

from pypose_core.lie import so3
from pypose_core.lie.dispatch import plain
from pypose_core.lie.groups import SO3

from .operators import preintegrate_sequences


def _batched(x: Tensor) -> Tensor:
    """Samples as (B, F, H), from (F, H) or (H,) too."""
    return x[(None,) * (3 - x.dim())]


def _states(x: Tensor) -> Tensor:
    """States as (B, 1, H), from (B, H) or (H,) too."""
    x = plain(x)
    return x if x.dim() == 3 else x[:, None] if x.dim() == 2 else x[None, None]


class IMUPreintegrator(nn.Module):
    """Integrates IMU samples from a state, with the interface of PyPose 0.9.5.

    With attitude R_k, velocity v_k, position p_k at the start of sample k, and g = (0, 0, gravity) as an
    accelerometer at rest feels it:
        R_{k+1} = R_k Exp(w_k dt_k),   v_{k+1} = v_k + (R_k a_k - g) dt_k,
        p_{k+1} = p_k + v_k dt_k + (R_k a_k - g) dt_k²/2

    The covariance is (B, 9, 9) in the order rotation (R_true = R Exp(δ)), velocity, position, the latter two
    in the frame of the state at which it was zero. Everything is differentiable, the covariance too;
    what is carried to the next call is detached. docs/differences_from_pypose.md says where the numbers
    differ from PyPose's.

    Args:
        pos, vel: (3,) or (B, 3) first position m and velocity m/s; zero by default.
        rot: first attitude, SO3; identity by default.
        gravity: m/s².
        gyro_cov, acc_cov: density² of the white noise, rad²/s and m²/s³; a number, or one for each axis.
        prop_cov: whether to propagate the covariance.
        reset: whether each call begins at the state given here; otherwise it continues from the last call.

    Source: Forster et al., "IMU Preintegration on Manifold for Efficient Visual-Inertial
    Maximum-a-Posteriori Estimation", RSS 2015, supplement, (A7) to (A10).
    """

    gravity: Tensor
    gyro_cov: Tensor
    acc_cov: Tensor

    def __init__(self, pos: Tensor | None = None, rot: Tensor | None = None, vel: Tensor | None = None,
                 gravity: float = 9.81007, gyro_cov: Tensor | float = (3.2e-3) ** 2,
                 acc_cov: Tensor | float = (8e-2) ** 2, prop_cov: bool = True, reset: bool = False):
        super().__init__()
        if not reset and not prop_cov:
            raise RuntimeError('"prop_cov" and "reset" cannot be False simultaneously.')
        self.reset, self.prop_cov = reset, prop_cov
        first = {'pos': torch.zeros(3) if pos is None else pos, 'vel': torch.zeros(3) if vel is None else vel,
                 'rot': torch.tensor([0., 0., 0., 1.]) if rot is None else rot}
        buffers = {name: _states(x).detach().clone() for name, x in first.items()}
        # Numbers are kept in double precision; they take the samples' precision where they are used.
        buffers |= {'rot': SO3(buffers['rot']), 'gravity': torch.tensor([0., 0., gravity], dtype=torch.float64),
                    'cov': torch.zeros(1, 9, 9), 'gyro_cov': self._density(gyro_cov),
                    'acc_cov': self._density(acc_cov)}
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)
        self.Rij = None
        """SO3 (B, 1, 4): attitude relative to the state at which the covariance was zero."""

    def forward(self, dt: Tensor, gyro: Tensor, acc: Tensor, rot: Tensor | None = None,
                gyro_cov: Tensor | None = None, acc_cov: Tensor | None = None,
                init_state: dict | None = None) -> dict:
        """The states after each sample.

        Args:
            dt: (B, F, 1), (F, 1) or (1,) s.
            gyro, acc: (B, F, 3), (F, 3) or (3,) angular rate rad/s, specific force m/s².
            rot: SO3 of the same shape, attitude at the start of each sample where it is known: gravity is then
                removed by it and not by the integrated attitude.
            gyro_cov, acc_cov: (B or 1, F or 1, 3) instead of the constructor's.
            init_state: dict of pos, rot, vel, each (H,), (B, H) or (B, 1, H); cov (B, 9, 9) and Rij
                (B, 1, 4) where a covariance is continued.

        Returns:
            dict of rot SO3, vel, pos, each (B, F, H); cov (B, 9, 9), with prop_cov also Rij SO3 (B, 1, 4).
        """
        dt, gyro, acc = self._samples(dt, gyro, acc)
        state = init_state or {name: getattr(self, name) for name in ('pos', 'rot', 'vel', 'cov', 'Rij')}
        noise = covariance = turn = None
        if self.prop_cov:
            noise = self._noise(self.gyro_cov if gyro_cov is None else gyro_cov,
                                self.acc_cov if acc_cov is None else acc_cov, dt)
            covariance, turn = self._covariance(state.get('cov'), state.get('Rij'), dt)
        motion, end = self._integrate(dt, gyro, acc, rot, state['rot'], noise, covariance)
        result = self.predict(state, motion)
        if turn is not None:
            relative = plain(motion['Dr'])[:, -1:]
            if state.get('Rij') is not None:
                relative = so3.mul(_states(state['Rij']).to(dt), relative)
            result |= {'cov': turn @ end[:, :9, :9] @ turn.mT, 'Rij': SO3(relative)}
        else:
            result['cov'] = None
        if not self.reset:
            for name in ('pos', 'rot', 'vel'):
                setattr(self, name, result[name][:, -1:].detach())
            self.cov, self.Rij = result['cov'].detach(), result['Rij'].detach()
        return result

    def integrate(self, dt: Tensor, gyro: Tensor, acc: Tensor, rot: Tensor | None = None,
                  init_rot: Tensor | None = None) -> dict:
        """The motion relative to the first state, in its frame, gravity removed.

        Args:
            dt, gyro, acc, rot: as in forward().
            init_rot: SO3, first attitude, by which gravity is removed; the identity by default.

        Returns:
            dict of (B, F, .): a, acceleration without gravity in the frame of the IMU at the start of each
            sample; after each sample the increments Dp, Dv, Dr (SO3) and the time Dt; w, each sample's own
            rotation (SO3).
        """
        dt, gyro, acc = self._samples(dt, gyro, acc)
        return self._integrate(dt, gyro, acc, rot, init_rot, None, None)[0]

    @classmethod
    def predict(cls, init_state: dict, integrate: dict) -> dict:
        """States (B, F, .) from the first one and the motion that integrate() returned."""
        increments = {name: plain(integrate[name]) for name in ('Dr', 'Dv', 'Dp', 'Dt')}
        pos, rot, vel = (_states(init_state[name]).to(increments['Dp']) for name in ('pos', 'rot', 'vel'))
        return {'rot': SO3(so3.mul(*torch.broadcast_tensors(rot, increments['Dr']))),
                'vel': vel + so3.act(rot, increments['Dv']),
                'pos': pos + so3.act(rot, increments['Dp']) + vel * increments['Dt']}

    @classmethod
    def propagate_cov(cls, cov_input: dict, init_cov: Tensor, gyro_cov: Tensor, acc_cov: Tensor) -> dict:
        """The covariance after F samples, by given attitudes and forces: P ← A_k P A_kᵀ + N_k, k = 0 .. F-1.

        forward() has it from the same pass as the states; this is its one step, with the inputs in the caller's hand.

        Args:
            cov_input: dict of, each (B, F, .), Rk: SO3, each sample's own rotation; Rij: SO3, attitude at the start of
                each sample, relative to the frame of velocity and position; Ha: (B, F, 3, 3), the specific force's
                hat() in the IMU's frame, m/s²; dt: (B, F, 1) s.
            init_cov: (B, 9, 9) covariance before the first sample, in the order rotation, velocity, position.
            gyro_cov, acc_cov: density² (B or 1, F or 1, 3).

        Returns:
            dict of cov (B, 9, 9), and Rij: SO3 (B, 1, 4), the last of the given ones.
        """
        dt, Rij = cov_input['dt'].unsqueeze(-1), cov_input['Rij']
        R, eye = Rij.matrix(), torch.eye(3).to(dt)
        zero = torch.zeros_like(R)
        turned = R @ cov_input['Ha'] * dt
        A = torch.cat([torch.cat([cov_input['Rk'].matrix().mT, zero, zero], -1),
                       torch.cat([-turned, eye + zero, zero], -1),
                       torch.cat([-turned * dt / 2, eye * dt + zero, eye + zero], -1)], -2)
        by_gyro = torch.cat([cov_input['Rk'].Jr(), zero, zero], -2)
        by_acc = torch.cat([zero, R, R * dt / 2], -2)
        N = ((by_gyro * gyro_cov.unsqueeze(-2)) @ by_gyro.mT + (by_acc * acc_cov.unsqueeze(-2)) @ by_acc.mT) * dt
        P = init_cov.expand(A.shape[0], 9, 9)
        for k in range(A.shape[1]):
            P = A[:, k] @ P @ A[:, k].mT + N[:, k]
        return {'cov': P, 'Rij': Rij[..., -1:, :]}

    @staticmethod
    def _density(value: Tensor | float) -> Tensor:
        value = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        return value.expand(*value.shape[:-1], 3)

    @staticmethod
    def _samples(dt: Tensor, gyro: Tensor, acc: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not 0 < dt.dim() == gyro.dim() == acc.dim() <= 3:
            raise ValueError('dt, gyro and acc have the same number of dimensions, 1 to 3; got '
                             f'{tuple(dt.shape)}, {tuple(gyro.shape)}, {tuple(acc.shape)}')
        return _batched(dt), _batched(gyro), _batched(acc)

    def _integrate(self, dt: Tensor, gyro: Tensor, acc: Tensor, rot: Tensor | None, init_rot: Tensor | None,
                   noise: Tensor | None, covariance: Tensor | None) -> tuple[dict, Tensor]:
        """integrate(), and the covariance at the end in the frame of the first state."""
        B, F = torch.broadcast_shapes(dt.shape[:2], gyro.shape[:2], acc.shape[:2])
        gravity = self.gravity.to(gyro)
        first = gyro.new_tensor([0., 0., 0., 1.]) if init_rot is None else init_rot
        first = _states(first).to(gyro).expand(B, 1, 4)
        dt, gyro = dt.expand(B, F, 1), gyro.expand(B, F, 3)
        if rot is not None:   # what is left of the force does not depend on the integrated attitude's error
            acc = acc - so3.act(so3.inv(_batched(plain(rot)).to(gyro)), gravity)
        samples = torch.cat([dt, gyro, acc.expand(B, F, 3)], -1)
        if noise is None:
            noise = gyro.new_zeros(1, 1, 5, 3, 3)
        path, _, covariance = preintegrate_sequences(samples, gyro.new_zeros(B, 6), noise, covariance, True)
        rotation, velocity, position = path.split((4, 3, 3), -1)
        time = dt.cumsum(1)
        if rot is None:
            felt = so3.act(so3.inv(first), gravity)
            velocity, position = velocity - felt * time, position - felt * (time * time / 2)
            before = torch.cat([first, so3.mul(first, rotation[:, :-1])], 1)
            acc = acc - so3.act(so3.inv(before), gravity)
        return {'a': acc, 'Dp': position, 'Dv': velocity, 'Dr': SO3(rotation), 'Dt': time,
                'w': SO3(so3.exp(gyro * dt))}, covariance

    @staticmethod
    def _noise(gyro_cov: Tensor, acc_cov: Tensor, like: Tensor) -> Tensor:
        """Densities (B or 1, F or 1, 5, 3, 3) of which only the white ones are not zero."""
        gyro, acc = torch.broadcast_tensors(_batched(gyro_cov.to(like)), _batched(acc_cov.to(like)))
        zero = torch.zeros_like(gyro)
        return torch.diag_embed(torch.stack([gyro, acc, zero, zero, zero], -2))

    def _covariance(self, cov: Tensor | None, Rij: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """The first covariance (B, 15, 15) in the frame of the first state, and the turn back (B, 9, 9)."""
        B = like.shape[0]
        cov = (torch.zeros(1, 9, 9) if cov is None else cov).to(like).expand(B, 9, 9)
        turn = torch.eye(9).to(like).repeat(B, 1, 1)
        if Rij is not None:
            R = so3.matrix(_states(Rij).to(like))[:, 0]
            turn[:, 3:6, 3:6], turn[:, 6:, 6:] = R, R
        return nn.functional.pad(turn.mT @ cov @ turn, (0, 6, 0, 6)), turn
