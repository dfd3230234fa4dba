"""PyPose's module `pp.lietensor.utils`."""
from pypose_core.lie.constructors import (
    identity_like,
    identity_RxSO3,
    identity_rxso3,
    identity_SE3,
    identity_se3,
    identity_Sim3,
    identity_sim3,
    identity_SO3,
    identity_so3,
    randn_like,
    randn_RxSO3,
    randn_rxso3,
    randn_SE3,
    randn_se3,
    randn_Sim3,
    randn_sim3,
    randn_SO3,
    randn_so3,
)
from pypose_core.lie.functional import Act, Adj, AdjT, Exp, Inv, Jinvp, Jr, Log, Mul, Retr
from pypose_core.lie.groups import SE3, SO3, RxSO3, Sim3, rxso3, se3, sim3, so3

__all__ = [
    'Act', 'Adj', 'AdjT', 'Exp', 'Inv', 'Jinvp', 'Jr', 'Log', 'Mul', 'Retr', 'RxSO3', 'SE3', 'SO3', 'Sim3',
    'identity_RxSO3', 'identity_SE3', 'identity_SO3', 'identity_Sim3', 'identity_like', 'identity_rxso3',
    'identity_se3', 'identity_sim3', 'identity_so3', 'randn_RxSO3', 'randn_SE3', 'randn_SO3', 'randn_Sim3',
    'randn_like', 'randn_rxso3', 'randn_se3', 'randn_sim3', 'randn_so3', 'rxso3', 'se3', 'sim3', 'so3',
]
