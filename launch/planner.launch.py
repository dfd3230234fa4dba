"""planner beside a robot's other nodes.

    ros2 launch pypose_ros planner.launch.py map:=/map goal_pose:=/goal_pose plan:=/plan

Arguments: see `ros2 launch pypose_ros planner.launch.py --show-args`.
"""
from pypose_ros.launching import one_node

TOPICS = (
    ('map', 'map', 'map', 'Topic of nav_msgs/OccupancyGrid'),
    ('goal_pose', 'goal_pose', 'goal_pose', 'Topic of geometry_msgs/PoseStamped: where to drive'),
    ('plan', 'plan', 'plan', 'Topic of nav_msgs/Path: the way there'),
)


def generate_launch_description():
    return one_node('planner', TOPICS)
