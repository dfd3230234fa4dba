"""imu_preintegration beside a robot's other nodes.

    ros2 launch pypose_ros imu_preintegration.launch.py imu:=/imu/data_raw odometry:=/lidar/odometry

Arguments: see `ros2 launch pypose_ros imu_preintegration.launch.py --show-args`.
"""
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition, UnlessCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

DEFAULT_PARAMS = PathJoinSubstitution([FindPackageShare('pypose_ros'), 'config', 'imu_preintegration.yaml'])
ARGUMENTS = (
    ('params_file', DEFAULT_PARAMS, 'Parameters of the node'),
    ('namespace', '', 'Namespace; /tf and /tf_static are then the namespace\'s own'),
    ('use_sim_time', 'false', 'Take the time from /clock'),
    ('autostart', 'true', 'Configure and activate at once; false under a lifecycle manager'),
    ('log_level', 'info', 'debug, info, warn, error or fatal'),
    ('imu', 'imu/data_raw', 'Topic of sensor_msgs/Imu'),
    ('odometry', 'odometry', 'Topic of nav_msgs/Odometry: relative corrections'),
    ('pose', 'pose', 'Topic of geometry_msgs/PoseWithCovarianceStamped: absolute corrections'),
    ('output', 'odometry/imu', 'Topic of the estimate'),
)


def generate_launch_description() -> LaunchDescription:
    argument = LaunchConfiguration
    remappings = [('imu/data_raw', argument('imu')), ('odometry', argument('odometry')),
                  ('pose', argument('pose')), ('odometry/imu', argument('output'))]
    own_tf = [('/tf', 'tf'), ('/tf_static', 'tf_static')]
    namespaced = PythonExpression(['"', argument('namespace'), '" not in ("", "/")'])

    def node(condition, remappings) -> LifecycleNode:
        return LifecycleNode(
            package='pypose_ros', executable='imu_preintegration', name='imu_preintegration',
            namespace=argument('namespace'), output='screen', condition=condition, remappings=remappings,
            arguments=['--ros-args', '--log-level', ['imu_preintegration:=', argument('log_level')]],
            parameters=[ParameterFile(argument('params_file'), allow_substs=True),
                        {'use_sim_time': ParameterValue(argument('use_sim_time'), value_type=bool),
                         'autostart': ParameterValue(argument('autostart'), value_type=bool)}])

    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=text)
          for name, default, text in ARGUMENTS),
        node(IfCondition(namespaced), remappings + own_tf),
        node(UnlessCondition(namespaced), remappings),
    ])
