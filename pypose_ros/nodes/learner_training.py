"""A round of training as a job for the learner's worker thread."""
import os
import threading
import time

from pypose_core.online.learner import Round


class Stopped(Exception):
    """The node is being taken down while it trains."""


class TrainingJob:
    """A round in the worker, at low priority."""

    def __init__(self, training: Round, nice: int, stop: threading.Event):
        self.training, self._nice, self._ending = training, nice, stop
        self.duration = 0.0

    def run(self) -> None:
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
