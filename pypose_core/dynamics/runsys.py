"""Trajectories of systems, in PyPose's form."""
from torch import Tensor

from pypose_core.dynamics.system import System


def toBTN(vec: Tensor, T: int) -> Tensor:
    """A vector (n,), one for each step (T, n) or batches of these (B, 1 or T, n), as (B, T, n)."""
    while vec.dim() < 3:
        vec = vec.unsqueeze(0)
    return vec.expand(-1, T, -1) if vec.shape[1] == 1 else vec


def runsys(system: System, T: int, x_traj: Tensor, u_traj: Tensor) -> Tensor:
    """The states (B, T, n) from x_traj's first one on, under the inputs u_traj, each as toBTN() takes it."""
    x, u = toBTN(x_traj, T).clone(), toBTN(u_traj, T)
    for k in range(T - 1):
        x[:, k + 1], _ = system(x[:, k], u[:, k])
    return x
