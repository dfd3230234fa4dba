"""The service ~/optimize of pose_graph."""
from collections import deque

from pypose_core.online.back_end import PoseGraphBackEnd, SolveJob
from pypose_ros.later import Later
from pypose_ros.srv import OptimizeGraph

ITERATIONS = 20     # where a request names none


class FullSolves:
    """Solves the whole graph in the worker, request by request; each is answered when its solve has ended.

    Measurements are taken meanwhile as at any time; those that a solve did not know are carried along with the
    keyframes that it moved, and enter the next one.

    Args:
        node: the PoseGraphNode.
        back_end: its estimator.
    """

    def __init__(self, node, back_end: PoseGraphBackEnd):
        self._node, self._back_end = node, back_end
        self._asked: deque[tuple[OptimizeGraph.Request, OptimizeGraph.Response, Later]] = deque()
        self._job: SolveJob | None = None       # of the first that asked

    def ask(self, request: OptimizeGraph.Request, response: OptimizeGraph.Response) -> Later:
        later = Later()
        self._asked.append((request, response, later))
        self.poll()
        return later

    def poll(self) -> None:
        """Answer whom can be answered, begin what can be begun."""
        back_end = self._back_end
        if self._job is not None and self._job.done:
            back_end.poll()
            # A reset, or the first absolute measurement, has put another map in the place of the one that was solved.
            current = back_end.last_job is self._job
            self._answer(self._job, '' if current else 'the map was moved or begun anew while it was solved')
        while self._asked and self._job is None and not back_end.solving:   # what the worker has begun, it ends first
            iterations = self._asked[0][0].max_iterations or ITERATIONS
            self._job = back_end.begin_solve(max_iterations=iterations, force=True)
            if self._job is None:
                self._answer(None, 'there are fewer than two keyframes')
            else:
                self._node.submit(self._job)

    def close(self) -> None:
        """The node goes: nobody shall wait for an answer that never comes."""
        while self._asked:
            self._answer(None, 'the node is being cleaned up')

    def _answer(self, job: SolveJob | None, problem: str) -> None:
        _, response, later = self._asked.popleft()
        self._job = None
        if job is not None:
            problem = problem or job.problem
            status = '' if job.solution is None else str(job.solution.status)
            response.success, response.message = not problem, problem or status
            response.stats = self._node.outputs.solve_stats(self._back_end.stamp_ns, job)
        else:
            response.message = problem
        later.answer(response)
