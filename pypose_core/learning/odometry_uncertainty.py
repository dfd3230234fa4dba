"""A network that says how far an odometry or a scan match can be trusted."""
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class OdometryUncertainty(nn.Module):
    """Features of an edge in, its information matrix out.

        Omega = S' S,   S = (I + N) diag(1 / sigma),   sigma = sigma_0 exp(log(range) tanh(h))

    with N strictly lower triangular and bounded, so Omega is positive definite whatever the weights. At first h = 0
    and N = 0: an untrained network states sigma_0 for every edge. What the features are is the caller's choice
    (number of matched points, fitness, speed, turn rate, ...); they are centred and scaled by `calibrate`.

    Args:
        features: how many.
        size: of the information matrix: 6 for SE(3), 3 for SE(2), in the order of the edge's residual.
        hidden: width of the two hidden layers.
        sigma_range: largest learned factor on sigma_0, either way.
    """

    kind: ClassVar[str] = 'odometry_uncertainty'
    center: Tensor
    spread: Tensor

    def __init__(self, *, features: int, size: int = 6, hidden: int = 16, sigma_range: float = 100.0):
        super().__init__()
        if min(features, size, hidden) < 1 or not sigma_range > 1:
            raise ValueError(f'features {features}, size {size}, hidden {hidden} must be positive, sigma_range '
                             f'{sigma_range} above 1')
        self.architecture: dict[str, Any] = {'features': features, 'size': size, 'hidden': hidden,
                                             'sigma_range': float(sigma_range)}
        self.size, self.log_range = size, math.log(sigma_range)
        self.register_buffer('center', torch.zeros(features))
        self.register_buffer('spread', torch.ones(features))
        self.log_sigma = nn.Parameter(torch.full((size,), math.log(0.05)))
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())
        self.head = nn.Linear(hidden, size + size * (size - 1) // 2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @torch.no_grad()
    def calibrate(self, features: Tensor, sigma: Tensor) -> None:
        """Begin at fixed standard deviations (size,), for features (M, features) as these."""
        self.center.copy_(features.mean(0))
        self.spread.copy_(features.std(0).clamp_min(1e-6))
        self.log_sigma.copy_(sigma.log())

    def sqrt_information(self, features: Tensor) -> Tensor:
        """(..., size, size) S with Omega = S' S."""
        x = ((features - self.center) / self.spread).to(self.log_sigma.dtype)
        h = self.head(self.layers(x)).tanh().to(self.log_sigma.dtype)
        inverse = (-self.log_sigma - self.log_range * h[..., :self.size]).exp()
        row, column = torch.tril_indices(self.size, self.size, -1)
        mixed = torch.eye(self.size).to(h).expand(*h.shape[:-1], -1, -1).clone()
        mixed[..., row, column] = h[..., self.size:]
        return mixed * inverse[..., None, :]

    def forward(self, features: Tensor) -> Tensor:
        """(..., size, size) information matrices of edges with features (..., features)."""
        S = self.sqrt_information(features)
        return S.mT @ S
