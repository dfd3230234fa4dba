"""GTSAM's iSAM2, fed pose by pose."""
import gtsam
import numpy as np


class Isam2:
    """The smoother with the settings that its users start from: Gauss-Newton, Cholesky.

    Args:
        spatial: poses [x y z qx qy qz qw] and tangents [rho, phi]; else [x, y, cos, sin] and [rho, theta].
        first: the first pose, held by a tight prior.
        threshold: relinearizeThreshold, looked at in every update.
    """

    def __init__(self, *, spatial: bool, first: np.ndarray, threshold: float):
        params = gtsam.ISAM2Params()
        params.setRelinearizeThreshold(threshold)
        params.relinearizeSkip = 1
        self.isam, self.spatial = gtsam.ISAM2(params), spatial
        self.dof = 6 if spatial else 3
        # GTSAM's spatial tangent has the rotation first
        self.order = np.array([3, 4, 5, 0, 1, 2] if spatial else [0, 1, 2])
        prior = gtsam.PriorFactorPose3 if spatial else gtsam.PriorFactorPose2
        self.between = gtsam.BetweenFactorPose3 if spatial else gtsam.BetweenFactorPose2
        graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        graph.add(prior(0, self.pose(first), gtsam.noiseModel.Isotropic.Sigma(self.dof, 1e-5)))
        values.insert(0, self.pose(first))
        self.isam.update(graph, values)
        self.all = gtsam.NonlinearFactorGraph()

    def pose(self, row: np.ndarray):
        """A row as GTSAM's pose."""
        if self.spatial:
            return pose3(row)
        return gtsam.Pose2(row[0], row[1], np.arctan2(row[3], row[2]))

    def guess(self, index: int, measured: np.ndarray):
        """The estimate of a pose, moved by an odometry."""
        return self._estimate(index).compose(self.pose(measured))

    def step(self, k: int, guess, index: np.ndarray, measured: np.ndarray, information: np.ndarray):
        """Add pose k with its measurements (M, 2), (M, storage), (M, dof, dof); returns its estimate."""
        graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        values.insert(k, guess)
        for (i, j), row, Omega in zip(index.tolist(), measured, information):
            noise = gtsam.noiseModel.Gaussian.Information(Omega[np.ix_(self.order, self.order)])
            graph.add(self.between(i, j, self.pose(row), noise))
        self.isam.update(graph, values)
        self.all.push_back(graph)
        return self._estimate(k)

    def chi2(self) -> float:
        """Sum of r' Omega r over the measurements, without the prior."""
        return 2 * self.all.error(self.isam.calculateEstimate())

    def _estimate(self, k: int):
        return self.isam.calculateEstimatePose3(k) if self.spatial else self.isam.calculateEstimatePose2(k)


def pose3(row: np.ndarray) -> gtsam.Pose3:
    """[x y z qx qy qz qw] as GTSAM's pose."""
    x, y, z, w = row[3:]
    return gtsam.Pose3(gtsam.Rot3.Quaternion(w, x, y, z), row[:3])
