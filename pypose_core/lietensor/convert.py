"""PyPose's module `pp.lietensor.convert`."""
from pypose_core.lie.convert import euler2SO3, from_matrix, mat2RxSO3, mat2SE3, mat2Sim3, mat2SO3, quat2unit
from pypose_core.lie.functional import euler, matrix, rotation, scale, tensor, translation

__all__ = [
    'euler', 'euler2SO3', 'from_matrix', 'mat2RxSO3', 'mat2SE3', 'mat2SO3', 'mat2Sim3', 'matrix', 'quat2unit',
    'rotation', 'scale', 'tensor', 'translation',
]
