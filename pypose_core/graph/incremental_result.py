"""What an update of an incremental graph is asked for, and what it returns."""
from dataclasses import dataclass
from enum import Enum

from torch import Tensor


@dataclass(frozen=True)
class IncrementalConfig:
    """Accuracy against work of an update."""

    relinearize_threshold: float = 0.1
    """A variable is linearized anew once a component of its step away from its linearization point is beyond this, in
    metres or radians; iSAM2's default. 0: every variable at every update, Gauss-Newton on the whole graph."""
    wildfire_threshold: float = 1e-3
    """Changes of steps below this are not followed further down the tree; iSAM2's default. 0: all are."""

    def __post_init__(self):
        for name in ('relinearize_threshold', 'wildfire_threshold'):
            if not getattr(self, name) >= 0:
                raise ValueError(f'{name} must not be negative, got {getattr(self, name)}')


class IncrementalStatus(Enum):
    """How an update ended; the value is a sentence. Where it is not ok, the graph is as it was before."""

    UPDATED = 'the graph and its estimate are up to date'
    UNDETERMINED = 'a variable is not connected to anything absolute: give it a prior or hold it'
    NOT_POSITIVE_DEFINITE = 'the factors leave a variable undetermined'
    NOT_FINITE = 'the residual of a factor is not a finite number'

    @property
    def ok(self) -> bool:
        """Whether the update has been made."""
        return self is IncrementalStatus.UPDATED


@dataclass(frozen=True)
class IncrementalStats:
    """What an update did, and how large the graph is after it."""

    affected: int = 0
    """Variables eliminated anew."""
    relinearized: int = 0
    """Variables whose linearization point moved."""
    linearized: int = 0
    """Factors linearized: the new ones and those of the variables that moved."""
    solved: int = 0
    """Variables whose step was computed anew."""
    new_cliques: int = 0
    """Fronts factorized."""
    cliques: int = 0
    """Fronts of the tree."""
    variables: int = 0
    factors: int = 0
    cost: float = 0.0
    """Least cost of the factors as they are linearized; `IncrementalGraph.cost` evaluates the factors themselves."""
    seconds: float = 0.0
    """On the wall."""


@dataclass(frozen=True)
class IncrementalUpdate:
    """Result of `IncrementalGraph.update`."""

    status: IncrementalStatus
    factors: tuple[Tensor, ...]
    """Ids of the new factors, (M,) for each batch; to remove them by. None where the status is not ok."""
    stats: IncrementalStats
    detail: str = ''
    """Which variable the status is about."""

    def __str__(self) -> str:
        about = f' ({self.detail})' if self.detail else ''
        s = self.stats
        return (f'{self.status.value}{about}; {s.affected} of {s.variables} variables eliminated, {s.relinearized} '
                f'relinearized, {1e3 * s.seconds:.3g} ms')
