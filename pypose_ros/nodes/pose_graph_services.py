"""The services of pose_graph."""
from pathlib import Path

from std_srvs.srv import SetBool, Trigger

from pypose_core.online.back_end import PoseGraphBackEnd, SessionError
from pypose_ros.graph_page import write_page
from pypose_ros.nodes.pose_graph_messages import edge_from_msg
from pypose_ros.nodes.pose_graph_optimize import FullSolves
from pypose_ros.srv import AddEdge, LoadGraph, OptimizeGraph, SaveGraph


class PoseGraphServices:
    """Answers requests to change, solve, save and load the graph.

    Args:
        node: the PoseGraphNode.
        back_end: its estimator.
    """

    def __init__(self, node, back_end: PoseGraphBackEnd):
        self._node, self._back_end = node, back_end
        service = node.endpoints.service
        service(SaveGraph, '~/save_graph', self._save)
        service(LoadGraph, '~/load_graph', self._load)
        service(AddEdge, '~/add_edge', self._add_edge)
        self.full_solves = FullSolves(node, back_end)
        service(OptimizeGraph, '~/optimize', self.full_solves.ask)
        service(SetBool, '~/pause', self._pause)
        service(Trigger, '~/reset', self._reset)

    def autosave(self) -> None:
        """Save to the file that the parameter names, if it does, and the page to `results_dir`."""
        params, logger = self._node.params, self._node.get_logger()
        page = params.results_dir and f'{params.results_dir}/{self._node.get_name()}.html'
        for path in filter(None, (params.autosave_on_shutdown, page)) if len(self._back_end.keyframes) else ():
            try:
                self._store(Path(path).expanduser())
                logger.info(f'saved {len(self._back_end.keyframes)} keyframes to {path}')
            except OSError as error:
                logger.error(f'not saved: {error}')

    def _store(self, path: Path) -> None:
        """A session, a trajectory or a page, by the name's ending."""
        if path.suffix == '.html':
            write_page(path, self._back_end, title=self._node.get_fully_qualified_name().lstrip('/'),
                       lead='Odometry alone (dashed), and the map.')
        else:
            self._back_end.save(path)

    def _save(self, request: SaveGraph.Request, response: SaveGraph.Response) -> SaveGraph.Response:
        folder = self._node.params.results_dir
        path = request.path or (f'{folder}/pose_graph.g2o' if folder else '')
        if not path:
            response.message = 'no path was given and results_dir is empty'
            return response
        try:
            self._store(Path(path).expanduser())
        except (OSError, ValueError) as error:
            response.message = f'not saved: {error}'
            return response
        response.success, response.path = True, str(Path(path).expanduser())
        response.message = f'{len(self._back_end.keyframes)} keyframes, {len(self._back_end.edges)} edges'
        return response

    def _load(self, request: LoadGraph.Request, response: LoadGraph.Response) -> LoadGraph.Response:
        try:
            self._back_end.load(Path(request.path).expanduser())
        except SessionError as error:
            response.message = str(error)
            return response
        self._node.outputs.restart()
        response.success, response.message = True, 'loaded; the next odometry goes on from the last keyframe'
        response.nodes, response.edges = len(self._back_end.keyframes), len(self._back_end.edges)
        return response

    def _add_edge(self, request: AddEdge.Request, response: AddEdge.Response) -> AddEdge.Response:
        verdict, response.message = self._back_end.add_edge(edge_from_msg(request.edge))
        response.success = verdict.accepted
        return response

    def _pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._back_end.paused = request.data
        response.success, response.message = True, 'paused' if request.data else 'running'
        return response

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._back_end.reset('on request')
        self._node.outputs.restart()
        response.success, response.message = True, 'a new map begins'
        return response
