"""PyPose's namespace `pp.function`."""
from pypose_core.function import checking as checking
from pypose_core.function import geometry as geometry
from pypose_core.function import linalg as linalg
from pypose_core.function import spline as spline
from pypose_core.geometry.alignment import svdstf, svdtf
from pypose_core.geometry.clouds import knn_filter, nbr_filter, random_filter, voxel_filter
from pypose_core.geometry.homogeneous import cart2homo, homo2cart
from pypose_core.geometry.neighbors import knn
from pypose_core.geometry.projection import pixel2point, point2pixel, reprojerr
from pypose_core.geometry.spline import bspline, chspline
from pypose_core.lie.checking import hasnan, is_lietensor, is_SE3
from pypose_core.lie.linalg import bmv, bvmv, bvv

__all__ = [
    'bmv', 'bspline', 'bvmv', 'bvv', 'cart2homo', 'chspline', 'hasnan', 'homo2cart', 'is_SE3', 'is_lietensor', 'knn',
    'knn_filter', 'nbr_filter', 'pixel2point', 'point2pixel', 'random_filter', 'reprojerr', 'svdstf', 'svdtf',
    'voxel_filter',
]
