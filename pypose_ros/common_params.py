"""Parameters that every node has."""
from dataclasses import dataclass

from pypose_ros.params import Change, parameter


@dataclass(frozen=True)
class CommonParams:
    """See each field."""
    use_sim_time: bool = parameter(
        False, 'Take the time from /clock, as a simulator or a bag player publishes it.',
        change=Change.ANY)
    autostart: bool = parameter(
        True, 'Configure and activate at start. Set false under a lifecycle manager.', change=Change.START)
    bond_heartbeat_period: float = parameter(
        0.25, 'Seconds between heartbeats to a lifecycle manager, with autostart false and bondpy '
        'installed; 0 = no bond.', minimum=0.0, maximum=10.0)
    executor: str = parameter(
        'events', 'How callbacks are dispatched: events (rclpy.experimental, half the CPU) or single.',
        choices=('events', 'single'), change=Change.START)
    device: str = parameter(
        'auto', 'Where networks run; auto = the GPU where there is one. The estimators themselves run on the CPU.',
        choices=('auto', 'cpu', 'cuda:0'))
    num_threads: int = parameter(
        1, 'Threads of torch; more than one slows small problems down.', minimum=1, maximum=256)
    tf_timeout: float = parameter(
        0.1, 'Seconds that a message waits for the transform it needs.', minimum=0.0, maximum=10.0)
    results_dir: str = parameter('', 'Folder for files that the node writes, among them its effective parameters; '
        'empty = none are written.')
