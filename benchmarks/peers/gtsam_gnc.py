"""GTSAM's graduated non-convexity on a pose graph, as Kimera-RPGO runs it: odometry known to be right."""
import gtsam
import numpy as np

from .gtsam_incremental import pose3

ORDER = [3, 4, 5, 0, 1, 2]      # GTSAM's tangent has the rotation first


def solve_robustly(poses: np.ndarray, index: np.ndarray, measured: np.ndarray, information: np.ndarray,
                   trusted: int, probability: float) -> np.ndarray:
    """Which factors beyond the first `trusted` ones are kept.

    Args:
        poses: (N, 7) start; the first pose is held by a tight prior.
        index, measured, information: (M, 2), (M, 7), (M, 6, 6) of all factors.
        trusted: the first so many are known to be right.
        probability: with which a right measurement is below the truncation.
    """
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    graph.add(gtsam.PriorFactorPose3(0, pose3(poses[0]), gtsam.noiseModel.Isotropic.Sigma(6, 1e-5)))
    for k, row in enumerate(poses):
        values.insert(k, pose3(row))
    for (i, j), row, Omega in zip(index.tolist(), measured, information):
        noise = gtsam.noiseModel.Gaussian.Information(Omega[np.ix_(ORDER, ORDER)])
        graph.add(gtsam.BetweenFactorPose3(i, j, pose3(row), noise))
    params = gtsam.GncLMParams(gtsam.LevenbergMarquardtParams())
    params.setLossType(gtsam.GncLossType.TLS)
    params.setKnownInliers(list(range(1 + trusted)))
    optimizer = gtsam.GncLMOptimizer(graph, values, params)
    optimizer.setInlierCostThresholdsAtProbability(probability)
    optimizer.optimize()
    return optimizer.getWeights()[1 + trusted:] > 0.5
