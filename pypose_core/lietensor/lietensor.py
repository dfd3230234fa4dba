"""PyPose's module `pp.lietensor.lietensor`."""
from pypose_core.func import retain_ltype
from pypose_core.lie.groups import (
    RxSO3_type,
    SE3_type,
    Sim3_type,
    SO3_type,
    rxso3_type,
    se3_type,
    sim3_type,
    so3_type,
)
from pypose_core.lie.lietensor import LieTensor
from pypose_core.lie.ltype import LieType
from pypose_core.lie.parameter import Parameter

SO3Type, so3Type = type(SO3_type), type(so3_type)
SE3Type, se3Type = type(SE3_type), type(se3_type)
Sim3Type, sim3Type = type(Sim3_type), type(sim3_type)
RxSO3Type, rxso3Type = type(RxSO3_type), type(rxso3_type)

__all__ = [
    'LieTensor', 'LieType', 'Parameter', 'RxSO3Type', 'RxSO3_type', 'SE3Type', 'SE3_type', 'SO3Type', 'SO3_type',
    'Sim3Type', 'Sim3_type', 'retain_ltype', 'rxso3Type', 'rxso3_type', 'se3Type', 'se3_type', 'sim3Type', 'sim3_type',
    'so3Type', 'so3_type',
]
