"""Several nodes in one process around one TorchCore: `bringup --nodes imu_preintegration,pose_graph --ros-args ...`.

Each node keeps its own thread for callbacks and its own worker for solves, which let go of the GIL: a long solve of one
does not hold up the others. Where one node's output is another's input it is handed over without serialization.
"""
import argparse
import importlib
import sys

NODES = {'imu_preintegration': 'ImuPreintegration', 'pose_graph': 'PoseGraphNode', 'loop_closure': 'LoopClosureNode',
         'planner': 'PlannerNode', 'mpc_controller': 'MpcController', 'learner': 'LearnerNode'}
CONNECTIONS: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {
    'pose_graph': {'imu_preintegration': (('odometry', 'odometry/imu'), ('pose', 'map_pose'))},
    'loop_closure': {'imu_preintegration': (('odometry', 'odometry/imu'),)},
    'mpc_controller': {'imu_preintegration': (('odom', 'odometry/imu'),), 'pose_graph': (('path', 'plan'),),
                       'planner': (('path', 'plan'),)}}
"""Of a node's inputs, those that another node of the process feeds, or that would clash with one of its own, and what
they become unless a remapping says otherwise."""


def own_arguments(name: str, names: list[str], arguments: list[str]) -> list[str]:
    """ROS arguments that connect a node with the others."""
    rules = []
    for other, connections in CONNECTIONS.get(name, {}).items():
        for topic, source in connections if other in names else ():
            if not any(f'{name}:{topic}:=' in argument for argument in arguments):
                rules += ['-r', f'{topic}:={source}']
    return ['--ros-args', *rules] if rules else []


def main(args: list[str] | None = None) -> None:
    """Run until SIGINT or SIGTERM."""
    arguments = sys.argv[1:] if args is None else args
    before, separator, ros = arguments, [], []
    if '--ros-args' in arguments:
        cut = arguments.index('--ros-args')
        before, separator, ros = arguments[:cut], ['--ros-args'], arguments[cut + 1:]
    parser = argparse.ArgumentParser(prog='bringup', description=__doc__.partition('\n')[0])
    usual = ','.join(name for name in NODES if name != 'learner')
    parser.add_argument('--nodes', default=usual, help='names, with commas between (default: all but learner)')
    parser.add_argument('--device', default='auto', choices=('auto', 'cpu', 'cuda:0'))
    parser.add_argument('--num-threads', type=int, default=1, help='of torch')
    options = parser.parse_args(before)
    names = [name for name in options.nodes.split(',') if name]
    unknown = [name for name in names if name not in NODES]
    if unknown or not names:
        parser.error(f'no such node: {", ".join(unknown) or "(none given)"}; there are {", ".join(NODES)}')
    from pypose_ros.run import run_nodes  # brings torch: a misspelt name is answered before it
    from pypose_ros.torch_core import TorchCore
    core = TorchCore(options.device, options.num_threads)

    def make(name: str):
        node = getattr(importlib.import_module(f'pypose_ros.nodes.{name}'), NODES[name])
        return lambda: node(core=core, cli_args=own_arguments(name, names, ros))

    sys.exit(run_nodes([make(name) for name in names], [sys.argv[0], *separator, *ros]))


if __name__ == '__main__':
    main()
