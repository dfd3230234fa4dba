"""pypose_core: differentiable estimation and control on PyTorch.

`import pypose_core as pp` gives PyPose's public names; what is added has a name in the same spirit.
"""
import importlib as _importlib
import typing as _typing

from pypose_core import basics as basics
from pypose_core import func as func
from pypose_core import testing as testing
from pypose_core.func import retain_ltype as retain_ltype
from pypose_core.lie.checking import hasnan as hasnan
from pypose_core.lie.checking import is_lietensor as is_lietensor
from pypose_core.lie.checking import is_SE3 as is_SE3
from pypose_core.lie.constructors import identity_like as identity_like
from pypose_core.lie.constructors import identity_RxSO3 as identity_RxSO3
from pypose_core.lie.constructors import identity_rxso3 as identity_rxso3
from pypose_core.lie.constructors import identity_SE2 as identity_SE2
from pypose_core.lie.constructors import identity_se2 as identity_se2
from pypose_core.lie.constructors import identity_SE3 as identity_SE3
from pypose_core.lie.constructors import identity_se3 as identity_se3
from pypose_core.lie.constructors import identity_SE23 as identity_SE23
from pypose_core.lie.constructors import identity_se23 as identity_se23
from pypose_core.lie.constructors import identity_Sim3 as identity_Sim3
from pypose_core.lie.constructors import identity_sim3 as identity_sim3
from pypose_core.lie.constructors import identity_SO2 as identity_SO2
from pypose_core.lie.constructors import identity_so2 as identity_so2
from pypose_core.lie.constructors import identity_SO3 as identity_SO3
from pypose_core.lie.constructors import identity_so3 as identity_so3
from pypose_core.lie.constructors import randn_like as randn_like
from pypose_core.lie.constructors import randn_RxSO3 as randn_RxSO3
from pypose_core.lie.constructors import randn_rxso3 as randn_rxso3
from pypose_core.lie.constructors import randn_SE2 as randn_SE2
from pypose_core.lie.constructors import randn_se2 as randn_se2
from pypose_core.lie.constructors import randn_SE3 as randn_SE3
from pypose_core.lie.constructors import randn_se3 as randn_se3
from pypose_core.lie.constructors import randn_SE23 as randn_SE23
from pypose_core.lie.constructors import randn_se23 as randn_se23
from pypose_core.lie.constructors import randn_Sim3 as randn_Sim3
from pypose_core.lie.constructors import randn_sim3 as randn_sim3
from pypose_core.lie.constructors import randn_SO2 as randn_SO2
from pypose_core.lie.constructors import randn_so2 as randn_so2
from pypose_core.lie.constructors import randn_SO3 as randn_SO3
from pypose_core.lie.constructors import randn_so3 as randn_so3
from pypose_core.lie.convert import euler2SO3 as euler2SO3
from pypose_core.lie.convert import from_matrix as from_matrix
from pypose_core.lie.convert import mat2RxSO3 as mat2RxSO3
from pypose_core.lie.convert import mat2SE3 as mat2SE3
from pypose_core.lie.convert import mat2Sim3 as mat2Sim3
from pypose_core.lie.convert import mat2SO3 as mat2SO3
from pypose_core.lie.convert import quat2unit as quat2unit
from pypose_core.lie.convert import vec2skew as vec2skew
from pypose_core.lie.cumulative import cummul as cummul
from pypose_core.lie.cumulative import cummul_ as cummul_
from pypose_core.lie.cumulative import cumops as cumops
from pypose_core.lie.cumulative import cumops_ as cumops_
from pypose_core.lie.cumulative import cumprod as cumprod
from pypose_core.lie.cumulative import cumprod_ as cumprod_
from pypose_core.lie.cumulative import pm as pm
from pypose_core.lie.functional import Act as Act
from pypose_core.lie.functional import Adj as Adj
from pypose_core.lie.functional import AdjT as AdjT
from pypose_core.lie.functional import Exp as Exp
from pypose_core.lie.functional import Inv as Inv
from pypose_core.lie.functional import Jinvp as Jinvp
from pypose_core.lie.functional import Jl as Jl
from pypose_core.lie.functional import Jl_inv as Jl_inv
from pypose_core.lie.functional import Jr as Jr
from pypose_core.lie.functional import Jr_inv as Jr_inv
from pypose_core.lie.functional import Log as Log
from pypose_core.lie.functional import Mul as Mul
from pypose_core.lie.functional import Retr as Retr
from pypose_core.lie.functional import add as add
from pypose_core.lie.functional import add_ as add_
from pypose_core.lie.functional import between as between
from pypose_core.lie.functional import euler as euler
from pypose_core.lie.functional import hat as hat
from pypose_core.lie.functional import matrix as matrix
from pypose_core.lie.functional import mul as mul
from pypose_core.lie.functional import rotation as rotation
from pypose_core.lie.functional import scale as scale
from pypose_core.lie.functional import tensor as tensor
from pypose_core.lie.functional import translation as translation
from pypose_core.lie.gaussian import Gaussian as Gaussian
from pypose_core.lie.groups import SE2 as SE2
from pypose_core.lie.groups import SE3 as SE3
from pypose_core.lie.groups import SE23 as SE23
from pypose_core.lie.groups import SO2 as SO2
from pypose_core.lie.groups import SO3 as SO3
from pypose_core.lie.groups import RxSO3 as RxSO3
from pypose_core.lie.groups import RxSO3_type as RxSO3_type
from pypose_core.lie.groups import SE2_type as SE2_type
from pypose_core.lie.groups import SE3_type as SE3_type
from pypose_core.lie.groups import SE23_type as SE23_type
from pypose_core.lie.groups import Sim3 as Sim3
from pypose_core.lie.groups import Sim3_type as Sim3_type
from pypose_core.lie.groups import SO2_type as SO2_type
from pypose_core.lie.groups import SO3_type as SO3_type
from pypose_core.lie.groups import rxso3 as rxso3
from pypose_core.lie.groups import rxso3_type as rxso3_type
from pypose_core.lie.groups import se2 as se2
from pypose_core.lie.groups import se2_type as se2_type
from pypose_core.lie.groups import se3 as se3
from pypose_core.lie.groups import se3_type as se3_type
from pypose_core.lie.groups import se23 as se23
from pypose_core.lie.groups import se23_type as se23_type
from pypose_core.lie.groups import sim3 as sim3
from pypose_core.lie.groups import sim3_type as sim3_type
from pypose_core.lie.groups import so2 as so2
from pypose_core.lie.groups import so2_type as so2_type
from pypose_core.lie.groups import so3 as so3
from pypose_core.lie.groups import so3_type as so3_type
from pypose_core.lie.interpolate import interpolate as interpolate
from pypose_core.lie.interpolate import mean as mean
from pypose_core.lie.lietensor import LieTensor as LieTensor
from pypose_core.lie.linalg import bmv as bmv
from pypose_core.lie.linalg import bvmv as bvmv
from pypose_core.lie.linalg import bvv as bvv
from pypose_core.lie.loss import geodesic_loss as geodesic_loss
from pypose_core.lie.parameter import Parameter as Parameter

if _typing.TYPE_CHECKING:   # loaded when it is asked for: see __getattr__
    from pypose_core import autograd as autograd
    from pypose_core import function as function
    from pypose_core import lietensor as lietensor
    from pypose_core import metric as metric
    from pypose_core import module as module
    from pypose_core import optim as optim
    from pypose_core import sparse as sparse
    from pypose_core import utils as utils
    from pypose_core.geometry.alignment import svdstf as svdstf
    from pypose_core.geometry.alignment import svdtf as svdtf
    from pypose_core.geometry.clouds import knn_filter as knn_filter
    from pypose_core.geometry.clouds import nbr_filter as nbr_filter
    from pypose_core.geometry.clouds import random_filter as random_filter
    from pypose_core.geometry.clouds import voxel_filter as voxel_filter
    from pypose_core.geometry.homogeneous import cart2homo as cart2homo
    from pypose_core.geometry.homogeneous import homo2cart as homo2cart
    from pypose_core.geometry.neighbors import knn as knn
    from pypose_core.geometry.projection import pixel2point as pixel2point
    from pypose_core.geometry.projection import point2pixel as point2pixel
    from pypose_core.geometry.projection import reprojerr as reprojerr
    from pypose_core.geometry.spline import bspline as bspline
    from pypose_core.geometry.spline import chspline as chspline
    from pypose_core.sparse.ops import bsr_bsc_matmul as bsr_bsc_matmul

#: Modules that are loaded when they are asked for: together they take longer to load than the Lie groups.
_MODULES = ('autograd', 'control', 'dynamics', 'filter', 'function', 'geometry', 'inertial', 'lietensor', 'metric',
            'module', 'optim', 'sparse', 'utils')


def __getattr__(name: str):
    """The modules and functions that importing this package leaves out."""
    if name in _MODULES:
        return _importlib.import_module(f'pypose_core.{name}')
    if name == '__all__':   # `from pypose_core import *`
        return [n for n in __dir__() if not n.startswith('_')]
    if not name.startswith('_'):
        for home in ('function', 'sparse'):
            module = _importlib.import_module(f'pypose_core.{home}')
            if name in module.__all__:
                globals()[name] = found = getattr(module, name)
                return found
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_importlib.import_module('pypose_core.function').__all__, 'bsr_bsc_matmul'})
