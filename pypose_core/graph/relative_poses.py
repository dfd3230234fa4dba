"""What initial guesses start from: the measurements between the poses of one set."""
import torch
from torch import Tensor

from .factor_graph import FactorGraph
from .factors import Between


def relative_poses(graph: FactorGraph, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """(M, 2) index, (M, storage) measured and (M, dof, dof) information of all Between factors of a set.

    Raises:
        ValueError: the set is not of SE2 or SE3 poses.
    """
    group = graph.groups.get(name)
    if group is None:
        raise ValueError(f'there are no variables {name!r}; there are {sorted(graph.groups)}')
    if group.name not in ('SE2', 'SE3'):
        raise ValueError(f'{name!r} is a set of {group}, not of poses')
    batches = [f for f in graph.factors if isinstance(f, Between) and f.variables[0] == name]
    return (torch.cat([torch.empty(0, 2, dtype=torch.int64), *(f.index for f in batches)]),
            torch.cat([torch.empty(0, group.storage, dtype=torch.float64), *(f.measured for f in batches)]),
            torch.cat([torch.empty(0, group.dof, group.dof, dtype=torch.float64), *(f.information for f in batches)]))
