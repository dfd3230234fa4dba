"""mpc_controller beside a robot's other nodes.

    ros2 launch pypose_ros mpc_controller.launch.py odom:=/odometry/filtered path:=/plan cmd_vel:=/cmd_vel_nav

Arguments: see `ros2 launch pypose_ros mpc_controller.launch.py --show-args`.
"""
from pypose_ros.launching import one_node

TOPICS = (
    ('odom', 'odom', 'odom', 'Topic of nav_msgs/Odometry'),
    ('path', 'path', 'path', 'Topic of nav_msgs/Path to drive along'),
    ('costmap', 'local_costmap/costmap', 'local_costmap/costmap', 'Topic of nav_msgs/OccupancyGrid'),
    ('speed_limit', 'speed_limit', 'speed_limit', 'Topic of nav2_msgs/SpeedLimit'),
    ('cmd_vel', 'cmd_vel', 'cmd_vel', 'Topic of the commands'),
)


def generate_launch_description():
    return one_node('mpc_controller', TOPICS)
