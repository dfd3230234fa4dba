"""Our nodes in one process.

    ros2 launch pypose_ros bringup.launch.py mode:=mapping imu:=/imu/data_raw odometry:=/lidar/odometry rviz:=true

Arguments: see `ros2 launch pypose_ros bringup.launch.py --show-args`.
"""
from pypose_ros.launching import one_process

MODES = {'mapping': 'imu_preintegration,pose_graph,loop_closure', 'odometry': 'imu_preintegration',
         'graph': 'pose_graph,loop_closure',
         'driving': 'imu_preintegration,pose_graph,loop_closure,planner,mpc_controller',
         'learning': 'imu_preintegration,pose_graph,loop_closure,learner'}
TOPICS = (
    ('imu', 'imu/data_raw', 'imu/data_raw', 'Topic of sensor_msgs/Imu'),
    ('odometry', 'imu_preintegration:odometry', 'odometry', 'Topic of nav_msgs/Odometry: relative corrections'),
    ('pose', 'imu_preintegration:pose', 'pose', 'Topic of geometry_msgs/PoseWithCovarianceStamped in odom_frame'),
    ('map_pose', 'pose_graph:pose', 'map_pose', 'Topic of geometry_msgs/PoseWithCovarianceStamped in map_frame'),
    ('graph_odometry', 'pose_graph:odometry', 'odometry/imu', 'Topic of nav_msgs/Odometry that the graph keeps'),
    ('scan_odometry', 'loop_closure:odometry', 'odometry/imu', 'Topic of nav_msgs/Odometry that scans are placed by'),
    ('scan', 'scan', 'scan', 'Topic of sensor_msgs/LaserScan'),
    ('points', 'points', 'points', 'Topic of sensor_msgs/PointCloud2'),
    ('loop_closure', 'loop_closure', 'loop_closure', 'Topic of pypose_ros/PoseGraphEdge'),
    ('map', 'map', 'map', 'Topic of nav_msgs/OccupancyGrid to plan on'),
    ('goal_pose', 'goal_pose', 'goal_pose', 'Topic of geometry_msgs/PoseStamped: where to drive'),
    ('plan', 'mpc_controller:path', 'plan', 'Topic of nav_msgs/Path to drive along'),
    ('drive_odometry', 'mpc_controller:odom', 'odometry/imu', 'Topic of nav_msgs/Odometry that the robot is driven by'),
    ('cmd_vel', 'cmd_vel', 'cmd_vel', 'Topic of the commands'),
    ('fix', 'fix', 'fix', 'Topic of sensor_msgs/NavSatFix'),
)


def generate_launch_description():
    return one_process(MODES, TOPICS)
