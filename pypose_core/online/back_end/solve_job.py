"""A solve as a job: cut out of the back-end, run by a worker, taken over by the back-end when it has ended."""
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Solution:
    """What a solve found."""

    poses: NDArray[np.float64]
    """(N, 7) T_map_base of the keyframes that the job knew."""
    covariance: NDArray[np.float64]
    """(6, 6) of the newest, ROS order, about the map's axes; NaN where it is not known."""
    status: str
    """A sentence."""
    iterations: int
    cost_initial: float
    cost_final: float
    edges: tuple[NDArray, NDArray, NDArray] = field(default_factory=lambda: (np.empty(0, int),) * 3)
    """Rows of the edge table that were judged: rows, chi2, rejected."""
    priors: tuple[NDArray, NDArray, NDArray] = field(default_factory=lambda: (np.empty(0, int),) * 3)
    states: NDArray[np.float64] | None = None
    """(N, 16) navigation states of the IMU, where there are inertial factors."""


class SolveJob(ABC):
    """`run` belongs to a worker thread, all else to the back-end's.

    Args:
        generation: of the map; an answer to an older one is not used.
        size: (variables, factors) of the graph that is solved.
    """

    def __init__(self, generation: int, size: tuple[int, int]):
        self.generation, self.size = generation, size
        self.solution: Solution | None = None
        self.problem = ''
        """Why there is no solution, for people."""
        self.duration = 0.0
        """s of wall time."""
        self._ended = threading.Event()

    @property
    def done(self) -> bool:
        return self._ended.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait for its end in another thread, for at most `timeout` s; whether it has ended."""
        return self._ended.wait(timeout)

    def run(self) -> None:
        """Solve; all heavy work is native and lets go of the GIL."""
        start = time.perf_counter()
        try:
            self.solution = self.solve(start)
            if self.solution is not None and not np.isfinite(self.solution.poses).all():
                self.solution, self.problem = None, 'the solution is not finite'
        except Exception as error:      # an answer in any case: the robot drives on with the last good estimate
            self.problem = f'{type(error).__name__}: {error}'
            raise
        finally:
            self.duration = time.perf_counter() - start
            self._ended.set()

    @abstractmethod
    def solve(self, start: float) -> Solution | None:
        """The solution, or None where `self.problem` says why there is none.

        Args:
            start: time.perf_counter() at the beginning, for a time budget.
        """
