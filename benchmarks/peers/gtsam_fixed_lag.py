"""GTSAM as a causal inertial estimator: a fixed-lag smoother, and IMU-rate prediction from its last state.

The same graph as ours: a keyframe (pose, velocity, biases) at each correction, preintegrated IMU factors with
their bias random walk between them, a pose prior per correction, older keyframes marginalized.
"""
from collections.abc import Iterator

import gtsam
import numpy as np
from gtsam.symbol_shorthand import B, V, X

from pypose_core.inertial import ImuNoise


class GtsamFixedLag:
    """Fed in order of time; `output` is the prediction at the last IMU sample."""

    def __init__(self, noise: ImuNoise, *, gravity: float, window: int, sigma_position: float,
                 sigma_rotation: float, period: float, sigma_velocity0: float = 1.0,
                 sigma_gyro_bias0: float = 0.1, sigma_accel_bias0: float = 0.2):
        params = gtsam.PreintegrationCombinedParams.MakeSharedU(gravity)
        eye = np.eye(3)
        params.setGyroscopeCovariance(noise.gyroscope_noise_density ** 2 * eye)
        params.setAccelerometerCovariance(noise.accelerometer_noise_density ** 2 * eye)
        params.setIntegrationCovariance((noise.integration_sigma ** 2 + 1e-14) * eye)
        params.setBiasOmegaCovariance(noise.gyroscope_random_walk ** 2 * eye)
        params.setBiasAccCovariance(noise.accelerometer_random_walk ** 2 * eye)
        self.pim = gtsam.PreintegratedCombinedMeasurements(params, gtsam.imuBias.ConstantBias())
        optimizer = gtsam.LevenbergMarquardtParams()
        optimizer.setLinearSolverType('MULTIFRONTAL_QR')
        self.smoother = gtsam.BatchFixedLagSmoother((window - 0.5) * period, optimizer)
        self.pose_noise = gtsam.noiseModel.Diagonal.Sigmas(
            np.r_[[sigma_rotation] * 3, [sigma_position] * 3])
        self.velocity_noise = gtsam.noiseModel.Isotropic.Sigma(3, sigma_velocity0)
        self.bias_noise = gtsam.noiseModel.Diagonal.Sigmas(
            np.r_[[sigma_accel_bias0] * 3, [sigma_gyro_bias0] * 3])
        self.k = -1
        self.state = None          # last solved gtsam.NavState
        self.bias = gtsam.imuBias.ConstantBias()

    def add_imu(self, dt: float, sample: np.ndarray) -> None:
        """One sample [angular rate, specific force], held over dt seconds."""
        self.pim.integrateMeasurement(sample[3:], sample[:3], dt)

    @property
    def output(self) -> gtsam.NavState:
        return self.pim.predict(self.state, self.bias)

    def add_pose(self, stamp: float, pose: np.ndarray) -> None:
        """A correction [t, q] at the time of the last sample: a new keyframe, and a solve."""
        x, y, z, w = pose[3:]
        measured = gtsam.Pose3(gtsam.Rot3.Quaternion(w, x, y, z), pose[:3])
        graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        self.k += 1
        k = self.k
        if k == 0:
            self.state = gtsam.NavState(measured, np.zeros(3))
            graph.add(gtsam.PriorFactorVector(V(0), np.zeros(3), self.velocity_noise))
            graph.add(gtsam.PriorFactorConstantBias(B(0), self.bias, self.bias_noise))
            predicted = self.state
        else:
            predicted = self.output
            graph.add(gtsam.CombinedImuFactor(X(k - 1), V(k - 1), X(k), V(k), B(k - 1), B(k), self.pim))
        graph.add(gtsam.PriorFactorPose3(X(k), measured, self.pose_noise))
        values.insert(X(k), predicted.pose())
        values.insert(V(k), predicted.velocity())
        values.insert(B(k), self.bias)
        self.smoother.update(graph, values, {X(k): stamp, V(k): stamp, B(k): stamp})
        estimate = self.smoother.calculateEstimate()
        self.state = gtsam.NavState(estimate.atPose3(X(k)), estimate.atVector(V(k)))
        self.bias = estimate.atConstantBias(B(k))
        self.pim.resetIntegrationAndSetBias(self.bias)


def trajectory(smoother: GtsamFixedLag, imu_stamps: np.ndarray, imu: np.ndarray, stamps: np.ndarray,
               poses: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Causal output at every IMU stamp after the first correction: (stamp_ns, position, R (3, 3), velocity).

    The output at a correction's stamp is the one before the correction; the mean of the samples at an
    interval's ends stands for the interval.
    """
    first = int(np.searchsorted(imu_stamps, stamps[0]))
    due = dict(zip(stamps.tolist(), poses))
    smoother.add_pose(0.0, due[int(imu_stamps[first])])
    for i in range(first + 1, len(imu_stamps)):
        stamp = int(imu_stamps[i])
        smoother.add_imu((stamp - int(imu_stamps[i - 1])) * 1e-9, 0.5 * (imu[i - 1] + imu[i]))
        output = smoother.output
        yield stamp, output.position(), output.attitude().matrix(), output.velocity()
        if stamp in due:
            smoother.add_pose((stamp - int(imu_stamps[first])) * 1e-9, due[stamp])
