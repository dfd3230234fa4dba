"""The lifecycle node that all of ours are.

    configure   read parameters, allocate, subscribe        activate     outputs on
    cleanup     free all of it                              deactivate   outputs off

A subclass gives its parameter dataclass and the four hooks `configure`, `activate`, `deactivate`,
`cleanup`, and `status` for the diagnostics; this class sees to everything that nodes have in common.
"""
import importlib.util
import traceback
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from rclpy.lifecycle import LifecycleNode as RclpyLifecycleNode
from rclpy.lifecycle import TransitionCallbackReturn

from pypose_ros.clock_watch import ClockWatch
from pypose_ros.common_params import CommonParams
from pypose_ros.configured import Configured
from pypose_ros.device import choose_device
from pypose_ros.diagnostics import ERROR, WARN, Diagnostics, Status
from pypose_ros.endpoints import Endpoints
from pypose_ros.params import NodeParameters, ParameterError, dump_yaml
from pypose_ros.torch_core import Channel, TorchCore

BOND_TIMEOUT = 4.0      # s, Nav2's


P = TypeVar('P', bound=CommonParams)


class LifecycleNode(RclpyLifecycleNode, Generic[P]):
    """Base of the package's nodes.

    Args:
        name: default node name.
        params: dataclass of the node's parameters, a subclass of CommonParams.
        core: what it shares with the other nodes of its process; None where it is alone.
    """

    params: Configured[P] = Configured()
    moves_robot = False
    """Whether the robot must be stopped by this node before anything else ends."""

    def __init__(self, name: str, params: type[P], *, core: TorchCore | None = None, **kwargs):
        super().__init__(name, **kwargs)
        self.core = core
        self.active = False
        self._problem = ''
        self._bond: Any = None      # of bondpy, where that is installed
        self._declared = NodeParameters(self, params, on_change=self._changed, check=self.check)
        # An impossible transition raises in rclpy's own callback and would end the process (Jazzy).
        self._answer_transition = self._service_change_state.callback
        self._service_change_state.callback = self._change_state
        self._permanent = Endpoints(self)
        self.diagnostics = Diagnostics(self, advertise=self._permanent.steady_publisher, status=self._status)
        self._permanent.timer(1.0, self.diagnostics.publish)
        self._permanent.timer(0.2, self._watch)
        self.endpoints = Endpoints(self)
        self._clock_watch: ClockWatch | None = None
        self._clock_problem = ''
        self.device, self._device_problem = torch.device('cpu'), ''

    # What subclasses fill in.

    def check(self, params: P) -> None:
        """Raise ValueError where parameters contradict each other."""

    def configure(self) -> None:
        """Allocate and subscribe, from `self.params`. An exception refuses the transition."""

    def changed(self, params: P) -> None:
        """Parameters changed at run time; `self.params` is still what they were."""

    def activate(self) -> None:
        """Outputs go on."""

    def deactivate(self) -> None:
        """Outputs go off; publishers still work."""

    def cleanup(self) -> None:
        """Free what `configure` allocated. Called after a failed `configure` too."""

    def status(self) -> Status:
        """For the diagnostics, while configured."""
        return Status()

    def watch(self) -> None:
        """Five times a second on the steady clock, while configured."""

    def channel(self, topic: str) -> Channel | None:
        """The in-process channel beside a topic of ours; None where the node is alone."""
        return None if self.core is None else self.core.channel(self.resolve_topic_name(topic))

    # Transitions.

    def on_configure(self, state) -> TransitionCallbackReturn:
        try:
            self.params = self._declared.read()
            if self.core is None:
                torch.set_num_threads(self.params.num_threads)
            self.device, self._device_problem = choose_device(self.params.device)
            if self._device_problem:
                self.get_logger().warning(self._device_problem)
            self._write_parameters()
            self._clock_watch = ClockWatch(
                lambda: self.get_clock().now().nanoseconds, simulated=lambda: self.params.use_sim_time)
            self.configure()
        except ParameterError as error:
            for problem in error.problems:
                self.get_logger().error(f'not configured: parameter {problem}')
            return self._refuse(f'parameter {error}')
        except Exception as error:      # whatever it is: the node must live on and tell
            self.get_logger().error(f'not configured: {error}\n{traceback.format_exc()}')
            return self._refuse(str(error))
        self._problem = ''
        return super().on_configure(state)

    def _write_parameters(self) -> None:
        """The effective parameters into `results_dir`: a result without them cannot be repeated."""
        if not self.params.results_dir:
            return
        folder = Path(self.params.results_dir).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f'{self.get_name()}.yaml').write_text(dump_yaml(self.get_name(), self.params))

    def _refuse(self, problem: str) -> TransitionCallbackReturn:
        self._release()
        self._problem = 'not configured: ' + problem
        return TransitionCallbackReturn.FAILURE

    def on_activate(self, state) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        self.active = True
        self.activate()
        self._start_bond()
        self.get_logger().info('active')
        return result

    def on_deactivate(self, state) -> TransitionCallbackReturn:
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state) -> TransitionCallbackReturn:
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state) -> TransitionCallbackReturn:
        self._stop()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state) -> TransitionCallbackReturn:
        """A transition raised: back to unconfigured, from where it can be tried again."""
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _stop(self) -> None:
        if self._bond is not None:
            self._bond.shutdown()
            self._bond = None
        if self.active:
            self.deactivate()
            self.active = False
            self.get_logger().info('inactive')

    def _release(self) -> None:
        try:
            self.cleanup()
        finally:
            self.endpoints.destroy()
            self._declared.release()
            self.params = self._clock_watch = None

    def _change_state(self, request, response):
        asked = request.transition
        possible = [label if asked.label else number
                    for number, label, *_ in self._state_machine.available_transitions]
        if (asked.label or asked.id) in possible:
            return self._answer_transition(request, response)
        self.get_logger().warning(
            f'transition {asked.label or asked.id} is not possible from state {self.state}')
        response.success = False
        return response

    @property
    def state(self) -> str:
        """unconfigured, inactive, active or finalized."""
        return self._state_machine.current_state[1]

    # What nodes have in common while they run.

    def _changed(self, params: P) -> None:
        self.changed(params)
        self.params = params

    def _start_bond(self) -> None:
        period = self.params.bond_heartbeat_period
        if self.params.autostart or not period:
            return
        if importlib.util.find_spec('bondpy') is None:
            self.get_logger().warning(
                "bondpy is not installed: no bond to the lifecycle manager. Set the manager's bond_timeout "
                'to 0.0, or our bond_heartbeat_period to 0.0')
            return
        from bondpy.bondpy import Bond
        self._bond = Bond('bond', self.get_name(), self)
        self._bond.heartbeat_period = period
        self._bond.heartbeat_timeout = BOND_TIMEOUT
        self._bond.start()

    def _watch(self) -> None:
        if self._clock_watch is None:
            return
        problem = self._clock_watch.check()
        if problem and not self._clock_problem:
            self.get_logger().warning(problem)
        self._clock_problem = problem
        self.endpoints.poll()
        self.watch()

    def _status(self) -> Status:
        if self._clock_watch is None:       # not configured
            return Status(ERROR, self._problem) if self._problem else Status(message=self.state)
        status = self.status()
        if self._clock_problem:
            status.worsen(WARN, self._clock_problem)
        if self._device_problem:
            status.worsen(WARN, self._device_problem)
        status.values |= {'state': self.state, 'device': self.device}
        return status

    def destroy_node(self) -> None:
        self._stop()
        self._release()
        self._permanent.destroy()
        super().destroy_node()
