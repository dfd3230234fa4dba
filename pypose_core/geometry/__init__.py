"""Point clouds, cameras, registration, splines."""
from .alignment import align, nearest_rotation, svdstf, svdtf
from .clouds import knn_filter, nbr_filter, random_filter, voxel_filter
from .homogeneous import cart2homo, homo2cart
from .icp import ICP
from .neighbors import PointTree, knn
from .projection import pixel2point, point2pixel, reprojerr
from .registration import Registration, local_covariances, normals, register
from .spline import BSpline, HermiteSpline, bspline, chspline

__all__ = [
    'ICP', 'BSpline', 'HermiteSpline', 'PointTree', 'Registration', 'align', 'bspline', 'cart2homo', 'chspline',
    'homo2cart', 'knn', 'knn_filter', 'local_covariances', 'nbr_filter', 'nearest_rotation', 'normals', 'pixel2point',
    'point2pixel', 'random_filter', 'register', 'reprojerr', 'svdstf', 'svdtf', 'voxel_filter',
]
