"""What imu_preintegration publishes, and when."""
from collections.abc import Sequence

import numpy as np
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import Imu

from pypose_core.online import ImuOutput, ImuSmoother, Keyframe
from pypose_core.online.back_end import ImuSource
from pypose_ros import cdr, convert, qos
from pypose_ros.diagnostics import Diagnostics
from pypose_ros.endpoints import Endpoints
from pypose_ros.msg import ImuBias, PreintegratedImu
from pypose_ros.nodes.imu_preintegration_params import ImuPreintegrationParams
from pypose_ros.tf import TransformBroadcaster
from pypose_ros.torch_core import Channel

PATH_INTERVAL_NS = 100_000_000


class Outputs:
    """Publishers of the node; those of the stream write serialized messages (see cdr.py).

    Args:
        endpoints: makes the publishers.
        params: frames and rates; `params` may be replaced while running.
        diagnostics: counts what goes out.
        channel: for the odometry, to nodes of this process.
        samples: for what inertial factors are made of, likewise.
    """

    def __init__(self, endpoints: Endpoints, params: ImuPreintegrationParams, diagnostics: Diagnostics,
                 channel: Channel | None = None, samples: Channel | None = None):
        self.params, self._channel, self._samples = params, channel, samples
        self._source: tuple[ImuSmoother, ImuSource] | None = None
        for offer in filter(None, (channel, samples)):
            offer.offered = True
        self._rate = diagnostics.rate('output')
        self._write_odometry = cdr.OdometryWriter(params.odom_frame, params.base_frame)
        self._write_path = cdr.PathWriter(params.odom_frame)
        self._odometry = endpoints.publisher(Odometry, 'odometry/imu', qos.STANDARD)
        self._corrected = endpoints.publisher(Imu, 'imu/corrected', qos.STANDARD)
        self._bias = endpoints.publisher(ImuBias, '~/bias', qos.STANDARD)
        self._preintegrated = endpoints.publisher(PreintegratedImu, '~/preintegrated', qos.STANDARD)
        self._path = endpoints.publisher(Path, '~/path', qos.STANDARD)
        self.tf = TransformBroadcaster(
            endpoints.publisher, params.odom_frame, params.base_frame, inverted=params.invert_tf)
        self.imu_frame = ''
        self.restart()

    def restart(self) -> None:
        """Stamps begin anew: the clock jumped back."""
        self.tf.reset()
        self._write_path.clear()
        self._due_ns = self._path_ns = 0

    def use_imu_frame(self, frame: str) -> None:
        self.imu_frame = frame
        self._write_imu = cdr.ImuWriter(frame)

    def hand_over(self, estimator: ImuSmoother) -> None:
        """The newest sample with the biases, to nodes of this process: arguments of `PoseGraphBackEnd.add_imu`."""
        if self._samples is None or not self._samples.heard:
            return
        if self._source is None or self._source[0] is not estimator:
            config = estimator.config
            self._source = estimator, ImuSource(config.noise, estimator.T_base_imu, config.gravity, config.max_imu_gap)
        (stamp_ns, sample), output = estimator.newest_sample, estimator.output
        bias = np.zeros(6) if output is None else output.bias.copy()
        self._samples.publish((stamp_ns, sample.copy(), bias, self._source[1]))

    def publish(self, output: ImuOutput, imu: cdr.Received, *, transform: bool) -> bool:
        """One estimate, made from the message `imu`; False where it is not finite and nothing was sent."""
        stamp_ns, rate = output.stamp_ns, self.params.publish_rate
        if rate:
            if stamp_ns < self._due_ns:
                return True
            period_ns = round(1e9 / rate)
            # Keep the grid while the samples keep up with it, so that the mean rate is the one asked for.
            self._due_ns += period_ns
            if self._due_ns <= stamp_ns:
                self._due_ns = stamp_ns + period_ns
        data = self._write_odometry(
            stamp_ns, output.T_odom_base, output.pose_covariance, output.velocity_base,
            output.angular_velocity_base, output.twist_covariance)
        if not self._write_odometry.finite():
            return False
        self._odometry.publish(data)
        if self._channel is not None and self._channel.heard:
            self._channel.publish(self._write_odometry.received())
        self._rate.tick()
        if transform and self.params.publish_tf:
            self.tf.send(stamp_ns, output.T_odom_base)
        if self._corrected.get_subscription_count():
            self._publish_corrected(stamp_ns, output, imu)
        if stamp_ns - self._path_ns >= PATH_INTERVAL_NS:
            self._path_ns = stamp_ns
            self._write_path.append(stamp_ns, output.T_odom_base)
        return True

    def _publish_corrected(self, stamp_ns: int, output: ImuOutput, imu: cdr.Received) -> None:
        """The sample without its biases, with the estimated attitude of the IMU."""
        values, sample = imu.values.copy(), output.sample - output.bias
        values[cdr.IMU_ORIENTATION] = output.state[3:7]
        values[cdr.IMU_ORIENTATION_COVARIANCE] = output.pose_covariance[3:, 3:].ravel()
        values[cdr.IMU_GYROSCOPE], values[cdr.IMU_ACCELEROMETER] = sample[:3], sample[3:]
        self._corrected.publish(self._write_imu(stamp_ns, values))

    def publish_keyframes(self, output: ImuOutput, links: Sequence[tuple[Keyframe, Keyframe]]) -> None:
        """The biases after a solve, and the links between keyframes that became final by it.

        Made only for subscribers: this runs in the callback of an IMU sample.
        """
        if self._bias.get_subscription_count():
            self._bias.publish(convert.bias_to_msg(
                output.stamp_ns, self.imu_frame, output.bias, output.bias_covariance))
        for earlier, later in links if self._preintegrated.get_subscription_count() else ():
            assert later.row is not None        # a link has been preintegrated
            self._preintegrated.publish(convert.preintegrated_to_msg(
                later.row, frame_id=self.imu_frame, from_id=earlier.id, to_id=later.id,
                from_stamp_ns=earlier.stamp_ns, to_stamp_ns=later.stamp_ns, samples=later.samples))

    def publish_path(self) -> None:
        if len(self._write_path) and self._path.get_subscription_count():
            self._path.publish(self._write_path(self._path_ns))
