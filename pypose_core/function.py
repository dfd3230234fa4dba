"""PyPose's namespace `pp.function`."""
from .geometry.alignment import svdstf, svdtf
from .geometry.clouds import knn_filter, nbr_filter, random_filter, voxel_filter
from .geometry.homogeneous import cart2homo, homo2cart
from .geometry.neighbors import knn
from .geometry.projection import pixel2point, point2pixel, reprojerr
from .geometry.spline import bspline, chspline
from .lie.checking import hasnan, is_lietensor, is_SE3
from .lie.linalg import bmv, bvmv, bvv

__all__ = [
    'bmv', 'bspline', 'bvmv', 'bvv', 'cart2homo', 'chspline', 'hasnan', 'homo2cart', 'is_SE3', 'is_lietensor', 'knn',
    'knn_filter', 'nbr_filter', 'pixel2point', 'point2pixel', 'random_filter', 'reprojerr', 'svdstf', 'svdtf',
    'voxel_filter',
]
