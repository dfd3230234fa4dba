"""Model predictive path integral control: an optimal control problem solved by sampling.

    u_k ← u_k + Σ_i w_i ε_ik / Σ_i w_i,   w_i = exp(-(S_i - min S) / λ),   ε_ik ~ N(0, Σ)

S_i is the cost of the trajectory under u + ε_i. The paper's term λ u_kᵀ Σ⁻¹ ε_ik is left out (its α is 1): it would add
λ Σ⁻¹ to the price of controls, which the problem states itself. All samples are rolled out in one
batch, on the device of the initial state; no derivatives are used, so any function will do. Violated constraints are
priced as in the problem.

Source: Williams, Drews, Goldfain, Rehg and Theodorou, "Information-theoretic model predictive control: theory and
applications to autonomous driving" (2018), algorithm 2.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pypose_core.control.evaluate import Evaluator
from pypose_core.control.ocp import OCP


@dataclass(frozen=True)
class MppiResult:
    """The mean of the samples after the last update."""

    states: Tensor
    """(N + 1, state), by applying the controls."""
    controls: Tensor
    """(N, control)."""
    cost: float
    """Cost of that trajectory, with the price of violations."""
    effective: float
    """Effective number of samples of the last update, (Σ w)² / Σ w²: near 1, the temperature is too low."""


class MPPI:
    """Sampling on an OCP, warm started by shifting.

    Args:
        ocp: any; its functions are evaluated by torch. Bounds of controls clamp the samples.
        sigma: standard deviation of the samples by control, (control,) or a number.
        samples: trajectories of an update.
        temperature: λ, in units of the cost.
        iterations: updates of a solve.
        seed: of the generator.
    """

    def __init__(self, ocp: OCP, *, sigma: float | Tensor, samples: int = 1024, temperature: float = 1.0,
                 iterations: int = 3, seed: int = 0):
        if samples < 2 or temperature <= 0 or iterations < 1:
            raise ValueError(f'samples {samples}, temperature {temperature} and iterations {iterations} must be at '
                             f'least 2, positive and at least 1')
        self.ocp, self.samples, self.temperature, self.iterations = ocp, samples, temperature, iterations
        self.sigma = torch.as_tensor(sigma, dtype=torch.float64).expand(ocp.control)
        self.generators: dict[torch.device, torch.Generator] = {}
        self.seed = seed
        self.controls = torch.zeros(ocp.horizon, ocp.control, dtype=torch.float64)

    @torch.no_grad()
    def solve(self, x0: Tensor, *, u_prev: Tensor | None = None, parameters: Mapping[str, Tensor] | None = None,
              shift: bool = False) -> MppiResult:
        """Improve the controls from x0 (state,).

        Args:
            u_prev, parameters: as of OCP.solve().
            shift: begin with the last controls moved on by one step.
        """
        ocp, device = self.ocp, x0.device if isinstance(x0, Tensor) else torch.device('cpu')
        x0, packed = ocp.initial(x0, u_prev).to(device), ocp.pack(parameters or {}, 1)[0].to(device)
        generator = self.generators.setdefault(device, torch.Generator(device).manual_seed(self.seed))
        U, sigma = self.controls.to(device), self.sigma.to(device)
        if shift:
            U = torch.cat([U[1:], U[-1:]])
        low, high = self._limits(device)
        for _ in range(self.iterations):
            noise = sigma * torch.randn(self.samples, *U.shape, generator=generator, dtype=U.dtype, device=device)
            noise[0] = 0
            noise = torch.minimum(torch.maximum(U + noise, low), high) - U
            _, cost = self._roll(x0.expand(self.samples, -1), U + noise, packed)
            cost = torch.where(cost.isfinite(), cost, torch.full_like(cost, torch.inf))
            weight = torch.softmax(-cost / self.temperature, 0)
            U = U + (weight[:, None, None] * noise).sum(0)
        self.controls = U.cpu()
        X, cost = self._roll(x0[None], U[None], packed)
        return MppiResult(X[0, :, :ocp.base_space.size], U, float(cost), float(1 / weight.square().sum()))

    def _limits(self, device: torch.device) -> tuple[Tensor, Tensor]:
        rows = self.ocp.groups.get('control')
        if rows is None:
            return torch.tensor(-torch.inf, device=device), torch.tensor(torch.inf, device=device)
        return self.ocp.lower[:-1, rows].to(device), self.ocp.upper[:-1, rows].to(device)

    def _roll(self, x: Tensor, U: Tensor, packed: Tensor) -> tuple[Tensor, Tensor]:
        """States (samples, N + 1, state) and costs (samples,) of controls (samples, N, control)."""
        ocp, evaluator = self.ocp, Evaluator(self.ocp)
        lower, upper = ocp.lower.to(x.device), ocp.upper.to(x.device)
        l1, l2 = (torch.tensor(price, dtype=torch.float64, device=x.device).clamp(min=0) for price in ocp.prices[:2])
        states, total = [x], x.new_zeros(len(x))
        for k in range(ocp.horizon + 1):
            terminal, p = k == ocp.horizon, ocp.unpack(packed[k])
            u = U[:, k] if not terminal else U.new_zeros(len(x), ocp.control)
            total = total + evaluator.stage_cost(x, u, p, terminal)
            rows = torch.cat([torch.cat([u, x], -1)[:, ocp.box_number], evaluator.rows(x, u, p, terminal)], -1)
            over = torch.maximum(rows - upper[k], lower[k] - rows).clamp(min=0)
            total = total + (l1 * over + 0.5 * l2 * over.square()).sum(-1)
            if not terminal:
                x = ocp.functions.dynamics(x, u, p)
                states.append(x)
        return torch.stack(states, 1), total
