"""pose_graph beside a robot's other nodes.

    ros2 launch pypose_ros pose_graph.launch.py odometry:=/odometry/imu loop_closure:=/my_detector/loops

Arguments: see `ros2 launch pypose_ros pose_graph.launch.py --show-args`.
"""
from pypose_ros.launching import one_node

TOPICS = (
    ('odometry', 'odometry', 'odometry', 'Topic of nav_msgs/Odometry'),
    ('loop_closure', 'loop_closure', 'loop_closure', 'Topic of pypose_ros/PoseGraphEdge'),
    ('pose', 'pose', 'pose', 'Topic of geometry_msgs/PoseWithCovarianceStamped: where the robot is in the map'),
    ('fix', 'fix', 'fix', 'Topic of sensor_msgs/NavSatFix'),
)


def generate_launch_description():
    return one_node('pose_graph', TOPICS)
