"""Correctors: residual and Jacobian such that a least-squares step reduces the robust loss Σ ρ(|r|²).

A corrector is called as corrector(R=R, J=J) with R (..., d), whose last dimension is one residual, and
J (R.numel(), n), and returns both corrected, in the same shapes. Neither reads a number back from the device.
"""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pypose_core.optim.kernel import Kernel


def robust_cost(kernel: Callable[[Tensor], Tensor] | None, x: Tensor) -> Tensor:
    """ρ(x) of squared norms x; x itself where kernel is None."""
    if kernel is None:
        return x
    return kernel.rho(x) if isinstance(kernel, Kernel) else kernel(x)


class FastTriggs(nn.Module):
    """√ρ'(|r|²) r and √ρ'(|r|²) J: the robust loss's gradient, its Hessian without the kernel's curvature.

    Args:
        kernel: the robust kernel ρ.
    """

    def __init__(self, kernel: Callable[[Tensor], Tensor]):
        super().__init__()
        self.kernel = kernel

    def forward(self, R: Tensor, J: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = R.detach().square().sum(-1, keepdim=True).requires_grad_()
            slope, = torch.autograd.grad(robust_cost(self.kernel, x).sum(), x)
        root = slope.sqrt()
        return root * R, root.expand_as(R).reshape(-1, 1) * J


class Triggs(nn.Module):
    """√ρ' r / (1 - α) and √ρ' (I - α r rᵀ/|r|²) J, with α = 1 - √(1 + 2 |r|² ρ''/ρ').

    The second-order correction of Triggs et al., "Bundle adjustment — a modern synthesis" (1999), section
    4.3.  Where ρ'' <= 0, as beyond the inliers of every kernel that bounds outliers, α = 0 as in FastTriggs:
    the correction would make the Hessian indefinite.

    Args:
        kernel: the robust kernel ρ, twice differentiable.
    """

    def __init__(self, kernel: Callable[[Tensor], Tensor]):
        super().__init__()
        self.kernel = kernel

    def compute_grads(self, R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """|r|², ρ' and ρ'' at it, each (..., 1), of residuals R (..., d)."""
        with torch.enable_grad():
            x = R.detach().square().sum(-1, keepdim=True).requires_grad_()
            slope, = torch.autograd.grad(robust_cost(self.kernel, x).sum(), x, create_graph=True)
            curvature = torch.zeros_like(x)
            if slope.requires_grad:
                curvature, = torch.autograd.grad(slope.sum(), x, allow_unused=True, materialize_grads=True)
        return x.detach(), slope.detach(), curvature

    def forward(self, R: Tensor, J: Tensor) -> tuple[Tensor, Tensor]:
        x, slope, curvature = self.compute_grads(R)
        corrected = (x > 0) & (curvature > 0) & (slope > 0)
        ratio = torch.where(corrected, x * curvature / torch.where(corrected, slope, 1), 0)
        alpha = 1 - (1 + 2 * ratio).sqrt()
        root = slope.sqrt()
        rows = J.reshape(R.shape + J.shape[-1:])
        along = torch.einsum('...d,...dn->...n', R, rows).unsqueeze(-2)
        shrink = alpha / torch.where(corrected, x, 1)
        rows = root.unsqueeze(-1) * (rows - (shrink * R).unsqueeze(-1) * along)
        return root / (1 - alpha) * R, rows.reshape(J.shape)
