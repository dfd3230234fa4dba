"""A known model with a learned correction."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from pypose_core.dynamics.nonlinear import NLS
from pypose_core.dynamics.system import System


class Residual(NLS):
    """x_{k+1} = f(x, u, t) + G r(x, u): what the model f leaves out is learned by the network r.

    Args:
        system: the nominal system, any System whose state_transition takes (state, input, t).
        network: any module from (..., n + m), state and input, to (..., r).
        G: (n, r) where the correction enters; default the identity.

    Its parameters are trained like any other's: on recorded steps, or through LQR and MPC.
    """

    G: Tensor | None

    def __init__(self, system: System, network: nn.Module, G: Tensor | None = None):
        super().__init__()
        self.system, self.network = system, network
        self.register_buffer('G', G)

    def state_transition(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """The nominal step plus the correction."""
        r = self.network(torch.cat([state, input], -1))
        return self.system.state_transition(state, input, t) + (r if self.G is None else r @ self.G.mT)

    def observation(self, state: Tensor, input: Tensor, t: Tensor | None = None) -> Tensor:
        """The nominal system's observation."""
        return self.system.observation(state, input, t)
