"""learner in a process of its own, beside a robot's other nodes.

    ros2 launch pypose_ros learner.launch.py imu:=/imu/data_raw path:=/path

Arguments: see `ros2 launch pypose_ros learner.launch.py --show-args`.
"""
from pypose_ros.launching import one_node

TOPICS = (
    ('imu', 'imu/data_raw', 'imu/data_raw', 'Topic of sensor_msgs/Imu'),
    ('path', 'path', 'path', "Topic of nav_msgs/Path: pose_graph's keyframes"),
)


def generate_launch_description():
    return one_node('learner', TOPICS)
