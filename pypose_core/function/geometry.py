"""PyPose's module `pp.function.geometry`."""
from pypose_core.geometry.alignment import svdstf, svdtf
from pypose_core.geometry.clouds import knn_filter, nbr_filter, random_filter, voxel_filter
from pypose_core.geometry.homogeneous import cart2homo, homo2cart
from pypose_core.geometry.neighbors import knn
from pypose_core.geometry.projection import pixel2point, point2pixel, reprojerr

__all__ = [
    'cart2homo', 'homo2cart', 'knn', 'knn_filter', 'nbr_filter', 'pixel2point', 'point2pixel', 'random_filter',
    'reprojerr', 'svdstf', 'svdtf', 'voxel_filter',
]
