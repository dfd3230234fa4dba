"""Native kernels of the factors on navigation states: residuals, Jacobians, and second derivatives of their cost."""
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pypose_core.inertial.preintegrated import ROW

MOTION = ROW['jacobian'].stop
"""Numbers of a packed row that a residual depends on: all but the covariance."""


def inertial_inputs(data: Mapping[str, Tensor]) -> Tensor:
    """(M, 74) what the kernels take of inertial factors."""
    return torch.cat([data['preintegrated'][:, :MOTION], data['gravity']], 1)


def evaluated(x: Sequence[Tensor], inputs: Tensor, *, jacobian: bool) -> tuple[Tensor, Tensor | None]:
    """Residuals (M, 15) and Jacobians (M, 15, 15 V) of factors, each with V states (M, 16) of its own."""
    count = len(inputs)
    index = torch.arange(len(x) * count).view(len(x), count).mT.contiguous()
    r, J = torch.ops.pypose.graph_nav_jacobians(torch.cat(list(x)), index, inputs, jacobian)
    return r, J if jacobian else None
