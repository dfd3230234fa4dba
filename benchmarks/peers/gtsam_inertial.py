"""IMU and GPS in GTSAM: the same factors as ours, solved by its Levenberg-Marquardt."""
from dataclasses import dataclass

import gtsam
import numpy as np
from gtsam.symbol_shorthand import B, V, X

VERSION = 'gtsam 4.3.0'


@dataclass(frozen=True)
class Smoothed:
    position: np.ndarray
    """(N, 3) m."""
    chi2: float
    iterations: int


def smooth(state: np.ndarray, samples: np.ndarray, fixes: np.ndarray, used: np.ndarray, *, densities: tuple[float, ...],
           gps_sigma: float, bias_sigma: list[float], gravity: float, tolerance: float = 1e-9) -> Smoothed:
    """CombinedImuFactor on the tangent-space preintegration that the wheel has, GPSFactor, a prior on the first bias.

    Args:
        state: (N, 16) the guess, as NAV_STATE.
        samples: (N - 1, F, 7) [dt, gyro, accel]; those with dt = 0 are padding.
        fixes: (N, 3) m.
        used: which of them are factors.
        densities: gyroscope and accelerometer noise, gyroscope and accelerometer random walk.
        bias_sigma: of the first bias, gyroscope first.
    """
    params = gtsam.PreintegrationCombinedParams.MakeSharedU(gravity)
    gyro, accel, gyro_walk, accel_walk = (np.eye(3) * density ** 2 for density in densities)
    params.setGyroscopeCovariance(gyro), params.setAccelerometerCovariance(accel)
    params.setBiasOmegaCovariance(gyro_walk), params.setBiasAccCovariance(accel_walk)
    params.setIntegrationCovariance(np.zeros((3, 3)))
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    for k, row in enumerate(state):
        values.insert(X(k), gtsam.Pose3(gtsam.Rot3.Quaternion(row[6], *row[3:6]), row[:3]))
        values.insert(V(k), row[7:10])
        values.insert(B(k), gtsam.imuBias.ConstantBias(row[13:], row[10:13]))
    zero = gtsam.imuBias.ConstantBias()
    for k, interval in enumerate(samples):
        motion = gtsam.PreintegratedCombinedMeasurements(params, zero)
        for dt, *sample in interval[interval[:, 0] > 0]:
            motion.integrateMeasurement(np.array(sample[3:]), np.array(sample[:3]), dt)
        graph.add(gtsam.CombinedImuFactor(X(k), V(k), X(k + 1), V(k + 1), B(k), B(k + 1), motion))
    noise = gtsam.noiseModel.Isotropic.Sigma(3, gps_sigma)
    for k in used:
        graph.add(gtsam.GPSFactor(X(int(k)), fixes[k], noise))
    graph.add(gtsam.PriorFactorConstantBias(B(0), zero, gtsam.noiseModel.Diagonal.Sigmas(
        np.array([*bias_sigma[3:], *bias_sigma[:3]]))))
    options = gtsam.LevenbergMarquardtParams()
    options.setRelativeErrorTol(tolerance), options.setMaxIterations(200)
    optimizer = gtsam.LevenbergMarquardtOptimizer(graph, values, options)
    result = optimizer.optimize()
    position = np.array([result.atPose3(X(k)).translation() for k in range(len(state))])
    return Smoothed(position, 2 * graph.error(result), optimizer.iterations())
