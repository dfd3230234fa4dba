"""The linear-quadratic regulator over a finite horizon, in PyPose's form."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from pypose_core.control.bounded import solve_bounded_lqr
from pypose_core.control.horizon import Horizon, total_cost
from pypose_core.control.riccati import LqrSolution, reference, solve_lqr


class LQR(nn.Module):
    """minimize Σ_t ½ τ_tᵀ Q_t τ_t + p_tᵀ τ_t, τ_t = [x_t, u_t], t = 0 .. T-1, along a system.

    Args:
        system: `LTI`, `LTV`, `NLS` or another `System`.
        Q: (B, T, n+m, n+m), or (B, n+m, n+m) for all steps: symmetric, positive definite in the inputs.
        p: (B, T, n+m), or (B, n+m).
        T: number of steps.

    For linear systems the result is the optimum, bounds included, and is differentiable by everything. A nonlinear
    system is linearized along the inputs given, once: one iteration of iterative LQR; `MPC` does them all.
    """

    def __init__(self, system, Q: Tensor, p: Tensor, T: int):
        super().__init__()
        if Q.dim() == 3:
            Q = Q.unsqueeze(-3).expand(-1, T, -1, -1)
        if p.dim() == 2:
            p = p.unsqueeze(-2).expand(-1, T, -1)
        if Q.dim() != 4 or p.dim() != 3 or Q.shape[:-1] != p.shape or Q.shape[-1] != Q.shape[-2] or Q.shape[1] != T:
            raise ValueError(f'Q must be (B, T, n+m, n+m) and p (B, T, n+m) with T = {T}, got {tuple(Q.shape)} and '
                             f'{tuple(p.shape)}')
        if Q.dtype != p.dtype or Q.device != p.device:
            raise ValueError('Q and p must have one dtype and device, got '
                             f'{Q.dtype}, {Q.device} and {p.dtype}, {p.device}')
        self.system, self.Q, self.p, self.T = system, Q, p, T
        self.n_batch = p.shape[:-2]
        self.dargs = {'dtype': p.dtype, 'device': p.device}
        self.x_traj: Tensor | None = None
        self.u_traj: Tensor | None = None

    def forward(self, x_init: Tensor, dt: int | float = 1, u_traj: Tensor | None = None, u_lower=None, u_upper=None,
                du=None) -> tuple[Tensor, Tensor, Tensor]:
        """The optimal trajectory.

        Args:
            x_init: (B, n).
            dt: step; a nonlinear system gets k dt as its time at step k.
            u_traj: (B, T, m) inputs about which a nonlinear system is linearized; default zero.
            u_lower, u_upper: bounds of the inputs, (B, T, m) or what broadcasts to it.
            du: largest change of each input from u_traj.

        Returns:
            states x (B, T+1, n), inputs u (B, T, m), costs (B,).
        """
        horizon, u_traj, bounds = self._setup(x_init, dt, u_traj, u_lower, u_upper, du)
        if horizon.linear:
            solution = self._solve(horizon.matrices(), x_init, bounds)
            self.x_traj, self.u_traj = solution.x[:, :self.T].detach(), u_traj
            return solution.x, solution.u, solution.cost
        K, k = self.lqr_backward(x_init, dt, u_traj, u_lower, u_upper, du)
        return self.lqr_forward(x_init, K, k, u_lower, u_upper, du)

    def lqr_backward(self, x_init: Tensor, dt: int | float, u_traj: Tensor | None = None, u_lower=None, u_upper=None,
                     du=None) -> tuple[Tensor, Tensor]:
        """Gains K (B, T, m, n) and k (B, T, m) of u = u_traj + K (x - x_traj) + k, along the inputs' trajectory.

        Arguments as in forward().
        """
        horizon, u_traj, bounds = self._setup(x_init, dt, u_traj, u_lower, u_upper, du)
        x_traj = horizon.rollout(x_init, u_traj)[0][:, :self.T]
        self._dt, self.x_traj, self.u_traj = dt, x_traj, u_traj
        graph = torch.is_grad_enabled()
        matrices = horizon.matrices() if horizon.linear else horizon.linearize(x_traj, u_traj, create_graph=graph)
        if bounds is None and graph:
            solution = reference(self.Q, self.p, *matrices, x_init, self.T)   # differentiable gains
        else:
            solution = self._solve(matrices, x_init, bounds, gains=True)
        x, u, K = solution.x[:, :self.T], solution.u, solution.K
        assert K is not None        # asked for
        return K, u - u_traj - (K @ (x - x_traj).unsqueeze(-1)).squeeze(-1)

    def lqr_forward(self, x_init: Tensor, K: Tensor, k: Tensor, u_lower=None, u_upper=None,
                    du=None) -> tuple[Tensor, Tensor, Tensor]:
        """States, inputs and costs under the gains of lqr_backward(), along the system itself."""
        horizon, u_traj, bounds = self._setup(x_init, self._dt, self.u_traj, u_lower, u_upper, du)
        assert self.x_traj is not None      # lqr_backward() came before
        x, u = horizon.rollout(x_init, u_traj + k, (K, self.x_traj), *(bounds or (None, None)))
        return x, u, total_cost(self.Q, self.p, x, u)

    def _setup(self, x_init: Tensor, dt, u_traj, u_lower, u_upper,
               du) -> tuple[Horizon, Tensor, tuple[Tensor, Tensor] | None]:
        if x_init.dim() != 2:
            raise ValueError(f'x_init must be (B, n), got {tuple(x_init.shape)}')
        m = self.p.shape[-1] - x_init.shape[-1]
        batch = torch.broadcast_shapes(x_init.shape[:1], self.n_batch)
        if u_traj is None:
            u_traj = self.p.new_zeros(*batch, self.T, m)
        bounds = input_bounds(u_traj.expand(*batch, self.T, m), u_lower, u_upper, du)
        return Horizon(self.system, self.T, dt, self.p), u_traj, bounds

    def _solve(self, matrices: tuple[Tensor, Tensor, Tensor], x_init: Tensor, bounds, *,
               gains: bool = False) -> LqrSolution:
        if bounds is None:
            return solve_lqr(self.Q, self.p, *matrices, x_init, self.T, gains=gains)
        return solve_bounded_lqr(self.Q, self.p, *matrices, x_init, self.T, *bounds)


def input_bounds(u: Tensor, lower, upper, du) -> tuple[Tensor, Tensor] | None:
    """Lower and upper bounds (B, T, m) about the inputs u of that shape; None where there are none."""
    if lower is None and upper is None and du is None:
        return None
    lower, upper = (torch.as_tensor(default if bound is None else bound, dtype=u.dtype, device=u.device).expand(u.shape)
                    for bound, default in ((lower, -torch.inf), (upper, torch.inf)))
    if du is not None:
        lower, upper = torch.maximum(lower, u.detach() - du), torch.minimum(upper, u.detach() + du)
        upper = torch.maximum(lower, upper)   # where u itself is out of bounds, as near to it as they allow
    return lower, upper
