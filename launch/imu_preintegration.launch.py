"""imu_preintegration beside a robot's other nodes.

    ros2 launch pypose_ros imu_preintegration.launch.py imu:=/imu/data_raw odometry:=/lidar/odometry

Arguments: see `ros2 launch pypose_ros imu_preintegration.launch.py --show-args`.
"""
from pypose_ros.launching import one_node

TOPICS = (
    ('imu', 'imu/data_raw', 'imu/data_raw', 'Topic of sensor_msgs/Imu'),
    ('odometry', 'odometry', 'odometry', 'Topic of nav_msgs/Odometry: relative corrections'),
    ('pose', 'pose', 'pose', 'Topic of geometry_msgs/PoseWithCovarianceStamped: absolute corrections'),
    ('output', 'odometry/imu', 'odometry/imu', 'Topic of the estimate'),
)


def generate_launch_description():
    return one_node('imu_preintegration', TOPICS)
