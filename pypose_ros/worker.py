"""A thread for what must not hold up the callbacks."""
import queue
import threading
import traceback

from pypose_ros.threads import name_thread, yield_to_others


class Worker:
    """Runs jobs (objects with `run()`) one after the other, where callbacks leave the processor to it.

    Only what releases the GIL gains by it: Python code in a job competes with the callbacks for it.
    """

    def __init__(self, logger, *, name: str):
        self._logger = logger
        self._jobs: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job) -> None:
        self._jobs.put(job)

    def stop(self) -> None:
        """Returns when the job that runs has ended; those that wait are forgotten."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        name_thread(self._thread.name)
        yield_to_others()
        while (job := self._jobs.get()) is not None:
            try:
                job.run()
            except Exception:       # the job's owner learns it from the job; the thread must live on
                self._logger.error(f'a job failed\n{traceback.format_exc()}')
