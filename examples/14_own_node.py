"""A node of one's own: subscribes to poses, smooths them with an error-state filter on SE3, publishes what comes out.

    /pose (with noise) --> PoseFilter --> /filtered
"""
import rclpy
import torch
from geometry_msgs.msg import PoseStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

import pypose_core as pp
from pypose_core.filter import ErrorStateEKF
from pypose_ros import convert

f64 = {'dtype': torch.float64}
STEP = pp.se3(torch.tensor([0.1, 0, 0, 0, 0, 0.05], **f64)).Exp()          # the robot drives in a circle
Q, R = 1e-4 * torch.eye(6, **f64), 0.1 ** 2 * torch.eye(6, **f64)


class PoseFilter(Node):
    def __init__(self):
        super().__init__('pose_filter')
        self.filter = None
        self.out = self.create_publisher(PoseStamped, 'filtered', 10)
        self.create_subscription(PoseStamped, 'pose', self.on_pose, 10)

    def on_pose(self, message):
        pose = pp.SE3(torch.as_tensor(convert.pose_from_msg(message.pose)))
        if self.filter is None:
            self.filter = ErrorStateEKF(pose, R)
        else:
            self.filter.predict(lambda X: X @ STEP, Q)
            self.filter.update(pose, lambda X: X, R, lambda Y, h: (h.Inv() @ Y).Log().tensor())
        message.pose = convert.pose_to_msg(self.filter.X.tensor().numpy())
        self.out.publish(message)


torch.manual_seed(0)
rclpy.init()
node, peer, executor = PoseFilter(), Node('peer'), SingleThreadedExecutor()
heard, sender = [], peer.create_publisher(PoseStamped, 'pose', 10)
peer.create_subscription(PoseStamped, 'filtered', heard.append, 10)
for each in (node, peer):
    executor.add_node(each)
while not (sender.get_subscription_count() and node.out.get_subscription_count()):
    executor.spin_once(timeout_sec=0.05)
truth, errors = pp.identity_SE3(**f64), []
for k in range(100):
    truth = truth @ STEP @ (pp.randn_se3(**f64, sigma=0.01)).Exp()
    sent = PoseStamped(pose=convert.pose_to_msg((truth @ pp.randn_se3(**f64, sigma=0.1).Exp()).tensor().numpy()))
    sender.publish(sent)
    while len(heard) <= k:
        executor.spin_once(timeout_sec=1.0)
    errors.append((pp.SE3(torch.as_tensor(convert.pose_from_msg(heard[-1].pose))).Inv() @ truth).translation().norm())
rclpy.shutdown()
print(f'median error, of measurements of 10 cm each way: {torch.stack(errors[20:]).median() * 100:.1f} cm')
