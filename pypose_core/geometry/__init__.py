"""Point clouds, cameras, registration, splines."""
from .alignment import align, nearest_rotation, svdstf, svdtf
from .cameras import Camera, Fisheye, Pinhole
from .clouds import knn_filter, nbr_filter, random_filter, voxel_filter
from .distance_field import DistanceField
from .epnp import EPnP
from .five_point import five_point
from .homogeneous import cart2homo, homo2cart
from .icp import ICP
from .neighbors import PointTree, knn
from .p3p import p3p
from .pnp import RobustPnP, ransac_pnp
from .projection import pixel2point, point2pixel, reprojerr
from .registration import Registration, local_covariances, normals, register
from .spline import BSpline, HermiteSpline, bspline, chspline
from .triangulation import triangulate
from .two_view import eight_point_is_determined, essential_matrix, pose_from_essential, relative_pose, sampson
from .two_view_ransac import RobustRelativePose, TwoViewStatus, ransac_relative_pose

__all__ = [
    'BSpline', 'Camera', 'DistanceField', 'EPnP', 'Fisheye', 'HermiteSpline', 'ICP', 'Pinhole', 'PointTree',
    'Registration', 'RobustPnP', 'RobustRelativePose', 'TwoViewStatus', 'align', 'bspline', 'cart2homo',
    'chspline', 'eight_point_is_determined', 'essential_matrix', 'five_point', 'homo2cart', 'knn', 'knn_filter',
    'local_covariances', 'nbr_filter', 'nearest_rotation', 'normals', 'p3p', 'pixel2point', 'point2pixel',
    'pose_from_essential', 'random_filter', 'ransac_pnp', 'ransac_relative_pose', 'register', 'relative_pose',
    'reprojerr', 'sampson', 'svdstf', 'svdtf', 'triangulate', 'voxel_filter',
]
