"""What the launch files share. Needs `launch` and `launch_ros`, which come with ROS and not from PyPI."""
from collections.abc import Sequence

from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition, UnlessCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

COMMON = (
    ('namespace', '', 'Namespace; /tf and /tf_static are then the namespace\'s own'),
    ('use_sim_time', 'false', 'Take the time from /clock'),
    ('autostart', 'true', 'Configure and activate at once; false under a lifecycle manager'),
    ('log_level', 'info', 'debug, info, warn, error or fatal'),
)
OWN_TF = [('/tf', 'tf'), ('/tf_static', 'tf_static')]


def share(*parts: str) -> PathJoinSubstitution:
    """A file of the installed package."""
    return PathJoinSubstitution([FindPackageShare('pypose_ros'), *parts])


def declare(arguments: Sequence[tuple]) -> list[DeclareLaunchArgument]:
    """Launch arguments from (name, default, description)."""
    return [DeclareLaunchArgument(name, default_value=default, description=text) for name, default, text in arguments]


def _parameters(files: Sequence[str]) -> list:
    argument = LaunchConfiguration
    return [*(ParameterFile(argument(name), allow_substs=True) for name in files),
            {'use_sim_time': ParameterValue(argument('use_sim_time'), value_type=bool),
             'autostart': ParameterValue(argument('autostart'), value_type=bool)}]


def _in_namespace() -> PythonExpression:
    return PythonExpression(['"', LaunchConfiguration('namespace'), '" not in ("", "/")'])


def one_node(name: str, topics: Sequence[tuple[str, str, str, str]]) -> LaunchDescription:
    """One lifecycle node in a process of its own.

    Args:
        name: of the executable and the node.
        topics: (launch argument, topic of the node, default, description).
    """
    argument = LaunchConfiguration
    remappings = [(topic, argument(name)) for name, topic, _, _ in topics]

    def node(condition, remappings) -> LifecycleNode:
        return LifecycleNode(
            package='pypose_ros', executable=name, name=name, namespace=argument('namespace'), output='screen',
            condition=condition, remappings=remappings, parameters=_parameters(['params_file']),
            arguments=['--ros-args', '--log-level', [f'{name}:=', argument('log_level')]])

    return LaunchDescription([
        *declare([('params_file', share('config', f'{name}.yaml'), 'Parameters of the node'), *COMMON]),
        *declare([(name, default, text) for name, _, default, text in topics]),
        node(IfCondition(_in_namespace()), remappings + OWN_TF),
        node(UnlessCondition(_in_namespace()), remappings),
    ])


def one_process(modes: dict[str, str], topics: Sequence[tuple[str, str, str, str]]) -> LaunchDescription:
    """Several nodes in one process, and rviz where asked for.

    Args:
        modes: the nodes, with commas between, of each value of the argument `mode`; the first is the default.
        topics: as for `one_node`; a topic of one node alone is written `node:topic`.
    """
    argument = LaunchConfiguration
    remappings = [(topic, argument(name)) for name, topic, _, _ in topics]
    nodes = PythonExpression([repr(modes), '["', argument('mode'), '"]'])

    def process(condition, remappings) -> Node:
        return Node(package='pypose_ros', executable='bringup', namespace=argument('namespace'), output='screen',
                    condition=condition, remappings=remappings, parameters=_parameters(['params_file']),
                    arguments=['--nodes', nodes, '--ros-args', '--log-level', argument('log_level')])

    return LaunchDescription([
        DeclareLaunchArgument('mode', default_value=next(iter(modes)), choices=list(modes),
                              description='; '.join(f'{mode}: {names}' for mode, names in modes.items())),
        *declare([('params_file', share('config', 'bringup.yaml'), 'Parameters of all nodes'), *COMMON,
                  ('rviz', 'false', 'Start rviz with our view')]),
        *declare([(name, default, text) for name, _, default, text in topics]),
        process(IfCondition(_in_namespace()), remappings + OWN_TF),
        process(UnlessCondition(_in_namespace()), remappings),
        Node(package='rviz2', executable='rviz2', namespace=argument('namespace'), output='log',
             arguments=['-d', share('rviz', 'pypose.rviz')], condition=IfCondition(argument('rviz'))),
    ])
