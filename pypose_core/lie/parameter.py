"""Parameters of modules that are LieTensors: one class for each group and algebra."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from pypose_core.lie.dispatch import plain
from pypose_core.lie.groups import (
    SE2,
    SE3,
    SE23,
    SO2,
    SO3,
    RxSO3,
    Sim3,
    rxso3,
    se2,
    se3,
    se23,
    sim3,
    so2,
    so3,
)
from pypose_core.lie.lietensor import LieTensor, rebuild
from pypose_core.lie.ltype import LTYPES


class Parameter(LieTensor, nn.Parameter):
    """A LieTensor that a Module registers as its parameter.

    Args:
        data: a LieTensor, whose storage is shared; a plain tensor gives a torch.nn.Parameter.
        requires_grad: whether it gets gradients. Those of a group are left-tangent ones, padded with zeros
            to the storage width, and the optimizers of torch.optim move it along the group.
        sjac: PyPose's mark for sparse Jacobians, which are found here without it.
    """
    _is_param = True

    @staticmethod
    def __new__(cls, data=None, requires_grad: bool = True, sjac: bool = False):
        if data is None:
            data = torch.tensor([])
        if not isinstance(data, LieTensor):
            ltype = getattr(cls, 'ltype', None)
            if ltype is None:
                return nn.Parameter(data, requires_grad)
            data = ltype.cls(data)
        X = Tensor._make_subclass(PARAMETERS[data.ltype.name], plain(data.detach()), False)
        return X.requires_grad_(requires_grad)

    def __init__(self, data=None, requires_grad: bool = True, sjac: bool = False):
        """All is done by __new__."""


class SO3Parameter(Parameter, SO3):
    """Parameter of rotations."""


class so3Parameter(Parameter, so3):
    """Parameter of rotation vectors."""


class SE3Parameter(Parameter, SE3):
    """Parameter of rigid motions."""


class se3Parameter(Parameter, se3):
    """Parameter of twists."""


class RxSO3Parameter(Parameter, RxSO3):
    """Parameter of rotations with scale."""


class rxso3Parameter(Parameter, rxso3):
    """Parameter of rotation vectors with the logarithm of a scale."""


class Sim3Parameter(Parameter, Sim3):
    """Parameter of similarities."""


class sim3Parameter(Parameter, sim3):
    """Parameter of twists with the logarithm of a scale."""


class SO2Parameter(Parameter, SO2):
    """Parameter of rotations of the plane."""


class so2Parameter(Parameter, so2):
    """Parameter of angles."""


class SE2Parameter(Parameter, SE2):
    """Parameter of rigid motions of the plane."""


class se2Parameter(Parameter, se2):
    """Parameter of twists of the plane."""


class SE23Parameter(Parameter, SE23):
    """Parameter of extended poses."""


class se23Parameter(Parameter, se23):
    """Parameter of twists of extended poses."""


PARAMETERS = {cls.__name__.removesuffix('Parameter'): cls for cls in (
    SO3Parameter, so3Parameter, SE3Parameter, se3Parameter, RxSO3Parameter, rxso3Parameter, Sim3Parameter,
    sim3Parameter, SO2Parameter, so2Parameter, SE2Parameter, se2Parameter, SE23Parameter, se23Parameter)}

# torch.load() with weights_only=True, its default, takes only what is declared harmless.
torch.serialization.add_safe_globals([rebuild, *PARAMETERS.values(), *(t.cls for t in LTYPES.values())])
