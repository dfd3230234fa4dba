"""The main program of a node: executor, signals, orderly end."""
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.experimental.events_executor import EventsExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from pypose_ros.children import PARENT
from pypose_ros.threads import name_thread, take_short_turns

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FOREVER = 1e8           # s; without a timeout the EventsExecutor of Jazzy and Kilted spins idly
CRASH_LIMIT = 100       # exceptions in callbacks within a second that mean that nothing works any more
SWITCH_INTERVAL = 2e-4  # s, where Python has 5e-3: the nodes of a process share its interpreter


class Spinner:
    """Runs callbacks in a thread of its own.

    The main thread stays free for signals: the EventsExecutor waits in C++, where a Python signal handler
    would not be reached. An exception in a callback is logged and the rest goes on.
    """

    def __init__(self, node, kind: str):
        self._node = node
        executor = EventsExecutor if kind == 'events' else SingleThreadedExecutor
        self._executor = executor(context=node.context)
        self._executor.add_node(node)
        self._done = Future()
        self._thread = threading.Thread(target=self._run, name=node.get_name())
        self.failed = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the callback that runs has ended."""
        self._done.set_result(None)
        self._executor.wake()
        self._thread.join()
        self._executor.shutdown()

    def _run(self) -> None:
        name_thread(self._thread.name)
        crashes: list[float] = []
        while not self._done.done():
            try:
                self._executor.spin_until_future_complete(self._done, timeout_sec=FOREVER)
            except ExternalShutdownException:
                return
            except Exception as error:
                self._node.get_logger().error(f'{error!r} in a callback\n{traceback.format_exc()}')
                crashes = [t for t in crashes if t > time.monotonic() - 1.0] + [time.monotonic()]
                if len(crashes) > CRASH_LIMIT:
                    self.failed.set()
                    return


def run(make: Callable, args: list[str] | None = None) -> int:
    """Run the node that `make()` returns until SIGINT or SIGTERM; the process's exit code.

    Args:
        make: constructs a LifecycleNode; rclpy is initialized by then.
        args: command line without the program's name, None = the process's own.
    """
    return run_nodes([make], args)


def shut_down(node) -> None:
    """The transition that says good-bye: outputs off, files saved."""
    if node.state in ('active', 'inactive', 'unconfigured'):
        node.trigger_shutdown()


def share_clock(nodes: Sequence) -> None:
    """Let the first node's subscription of /clock serve all nodes that follow a simulated clock.

    A simulator's clock ticks as often as its fastest sensor; heard by each node by itself it costs more than that.
    """
    simulated = [node for node in nodes if node._time_source.ros_time_is_active]
    for node in simulated[1:]:
        source = node._time_source
        node.destroy_subscription(source._clock_sub)
        source._clock_sub = None
        simulated[0]._time_source.attach_clock(node.get_clock())


def run_nodes(makers: Sequence[Callable], args: list[str] | None = None) -> int:
    """As `run`, with several nodes, each in a thread of its own; or until the process ends that this one lives for."""
    parent = os.environ.pop(PARENT, None)
    take_short_turns()      # before the middleware starts its threads: they inherit it
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except rclpy_implementation.RCLError as error:      # arguments or a parameter file that ROS cannot read
        print(str(error).partition(', at /')[0].strip(), file=sys.stderr)
        return 2
    ended = threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: ended.set())
    nodes, spinners = [], []
    try:
        for make in makers:
            node = make()
            nodes.append(node)
            spinners.append(Spinner(node, node.get_parameter('executor').value))
            if (node.get_parameter('autostart').value
                    and node.trigger_configure() == TransitionCallbackReturn.SUCCESS):
                node.trigger_activate()
        share_clock(nodes)
        # What is alive now stays: the collector would otherwise walk all of torch's objects in some callback.
        gc.collect()
        gc.freeze()
        # A callback that wants the interpreter back after a native call waits for this long where others compute.
        sys.setswitchinterval(SWITCH_INTERVAL)
        for spinner in spinners:
            spinner.start()
        while not ended.wait(0.5) and not any(spinner.failed.is_set() for spinner in spinners):
            if parent not in (None, str(os.getppid())):
                break
        failed = any(spinner.failed.is_set() for spinner in spinners)
        for node, spinner in zip(nodes, spinners):
            if node.moves_robot:        # what stops the robot comes first
                spinner.stop()
                shut_down(node)
        for node, spinner in zip(nodes, spinners):
            if not node.moves_robot:
                spinner.stop()
        for node in nodes:
            shut_down(node)
        return 1 if failed else 0
    finally:
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()
        # Ctrl-C reaches a launched node twice, from the terminal and from launch; Python, while it ends,
        # would give the second one back its deadly default.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
