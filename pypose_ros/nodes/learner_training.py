"""A round of training as a job for the learner's worker thread."""
import os
import threading
import time

from pypose_core.online.learner import Round
from pypose_ros.threads import yield_to_all


class Stopped(Exception):
    """The node is being taken down while it trains."""


class TrainingJob:
    """A round in the worker, at low priority.

    Args:
        training: what is run.
        nice: of the thread.
        stop: set where the node is being taken down.
        alone: whether the process is the learner's own.
    """

    def __init__(self, training: Round, nice: int, stop: threading.Event, *, alone: bool):
        self.training, self._nice, self._ending, self._alone = training, nice, stop, alone
        self.duration = 0.0

    def run(self) -> None:
        if self._alone:
            yield_to_all()
        # Of this thread alone: in bringup the others keep theirs.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._nice)
        begin = time.monotonic()
        try:
            self.training.run(self._pause)
        except Stopped:
            return
        finally:
            self.duration = time.monotonic() - begin

    def _pause(self) -> None:
        time.sleep(0.001)       # the callbacks' turn with the GIL
        if self._ending.is_set():
            raise Stopped
