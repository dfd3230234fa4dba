"""A network that says whether a loop closure is one."""
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class LoopVerifier(nn.Module):
    """Features of a loop candidate in, the weight of its factor out, between 0 and 1.

    The weight multiplies the information of the loop's factor (`Factors.weight`); trained through the solver it is
    whatever makes the trajectory right, trained on labels it is the probability that the loop is true. Features are
    the caller's choice (overlap, fitness, distance of descriptors, agreement with the odometry, ...).

    Args:
        features: how many.
        hidden: width of the two hidden layers.
        prior: weight of every loop before training.
    """

    kind: ClassVar[str] = 'loop_verifier'
    center: Tensor
    spread: Tensor

    def __init__(self, *, features: int, hidden: int = 16, prior: float = 0.9):
        super().__init__()
        if min(features, hidden) < 1 or not 0 < prior < 1:
            raise ValueError(f'features {features} and hidden {hidden} must be positive, prior {prior} between 0 and 1')
        self.architecture: dict[str, Any] = {'features': features, 'hidden': hidden, 'prior': float(prior)}
        self.register_buffer('center', torch.zeros(features))
        self.register_buffer('spread', torch.ones(features))
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())
        self.head = nn.Linear(hidden, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, torch.tensor(prior).logit().item())

    @torch.no_grad()
    def calibrate(self, features: Tensor) -> None:
        """Centre and scale features (M, features) as these."""
        self.center.copy_(features.mean(0))
        self.spread.copy_(features.std(0).clamp_min(1e-6))

    def logit(self, features: Tensor) -> Tensor:
        """(...) logarithm of the odds that the loop is true."""
        return self.head(self.layers(((features - self.center) / self.spread).to(self.head.weight.dtype)))[..., 0]

    def forward(self, features: Tensor) -> Tensor:
        """(...) weights of candidates with features (..., features)."""
        return self.logit(features).sigmoid()
