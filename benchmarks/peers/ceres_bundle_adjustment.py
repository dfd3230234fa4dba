"""Bundle adjustment by Ceres: through pyceres, with the reprojection costs that pycolmap compiles in C++.

COLMAP's RADIAL camera [f, c_x, c_y, k1, k2] looks along +z with y down where a BAL camera looks along -z with y up:
the same pixels after half a turn about x, with their y negated. c_x = c_y = 0 are held.
"""
import time
from dataclasses import dataclass

import numpy as np
import pyceres  # before pycolmap, which registers its costs with it
import pycolmap
from pycolmap.cost_functions import ReprojErrorCost
from scipy.spatial.transform import Rotation

VERSION = f'ceres {pyceres.__ceres_version__} (pyceres {pyceres.__version__}, pycolmap {pycolmap.__version__})'
HALF_TURN = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Adjusted:
    """Where Ceres ended."""

    cost: float
    """Sum of rho(|r|^2), without a factor 1/2, pixels^2."""
    iterations: int
    seconds: float
    """Of the solver alone, CPU seconds, without setting the problem up."""
    behind: np.ndarray
    """Points that end behind a camera that sees them: COLMAP's costs are 0 there."""


def adjust(cameras: np.ndarray, points: np.ndarray, seen: np.ndarray, pixels: np.ndarray, *, huber: float = 0.0,
           tolerance: float = 1e-6, max_iterations: int = 100) -> Adjusted:
    """From a BAL problem's numbers to the solution, the problem's set-up included.

    Args:
        cameras: (C, 9) rotation vector, translation, f, k1, k2.
        points: (P, 3).
        seen: (M, 2) camera and point.
        pixels: (M, 2).
        huber: width of the Huber loss, pixels; 0 for none.
        tolerance: Ceres' function_tolerance.
    """
    turned = HALF_TURN @ Rotation.from_rotvec(cameras[:, :3]).as_matrix()
    lens = np.zeros((len(cameras), 5))
    lens[:, [0, 3, 4]] = cameras[:, 6:]
    # The problem refers to the memory of these rows, which must live as long.
    rotations, translations = list(Rotation.from_matrix(turned).as_quat()), list(cameras[:, 3:6] @ HALF_TURN)
    lenses, landmarks = list(lens), list(points.copy())
    loss = pyceres.HuberLoss(huber) if huber else pyceres.TrivialLoss()
    problem = pyceres.Problem()
    for (c, p), (x, y) in zip(seen.tolist(), pixels.tolist()):
        cost = ReprojErrorCost(pycolmap.CameraModelId.RADIAL, np.array([x, -y]))
        problem.add_residual_block(cost, loss, [rotations[c], translations[c], landmarks[p], lenses[c]])
    for q, k in zip(rotations, lenses):
        problem.set_manifold(q, pyceres.EigenQuaternionManifold())
        problem.set_manifold(k, pyceres.SubsetManifold(5, [1, 2]))
    options = pyceres.SolverOptions()
    options.linear_solver_type = pyceres.LinearSolverType.DENSE_SCHUR
    options.num_threads, options.max_num_iterations = 1, max_iterations
    options.function_tolerance, options.minimizer_progress_to_stdout = tolerance, False
    summary = pyceres.SolverSummary()
    start = time.process_time()
    pyceres.solve(options, problem, summary)
    seconds = time.process_time() - start
    axis = Rotation.from_quat(np.array(rotations)).as_matrix()[seen[:, 0], 2]
    depth = (axis * np.array(landmarks)[seen[:, 1]]).sum(1) + np.array(translations)[seen[:, 0], 2]
    return Adjusted(2 * summary.final_cost, summary.num_successful_steps + summary.num_unsuccessful_steps, seconds,
                    np.unique(seen[depth <= 0, 1]))
