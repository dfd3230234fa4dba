"""randn_*, identity_* and their *_like forms: LieTensors by name of their type."""
from __future__ import annotations

from pypose_core.lie import groups
from pypose_core.lie.lietensor import LieTensor


def _like(input: LieTensor, kwargs: dict) -> dict:
    return {'dtype': input.dtype, 'device': input.device} | {k: v for k, v in kwargs.items() if v is not None}


def randn_like(input: LieTensor, sigma=1.0, **kwargs) -> LieTensor:
    """Random elements of the type, leading shape, dtype and device of `input`; see LieType.randn."""
    return input.ltype.randn(*input.lshape, sigma=sigma, **_like(input, kwargs))


def identity_like(input: LieTensor, **kwargs) -> LieTensor:
    """Identities of the type, leading shape, dtype and device of `input`."""
    return input.ltype.identity(*input.lshape, **_like(input, kwargs))


def randn_SO3(*lsize, sigma=1.0, **kwargs) -> groups.SO3:
    """Random SO3 of leading shape lsize; see LieType.randn."""
    return groups.SO3_type.randn(*lsize, sigma=sigma, **kwargs)


def randn_so3(*lsize, sigma=1.0, **kwargs) -> groups.so3:
    """Random so3 of leading shape lsize; see LieType.randn."""
    return groups.so3_type.randn(*lsize, sigma=sigma, **kwargs)


def randn_SE3(*lsize, sigma=1.0, **kwargs) -> groups.SE3:
    """Random SE3 of leading shape lsize; see LieType.randn."""
    return groups.SE3_type.randn(*lsize, sigma=sigma, **kwargs)


def randn_se3(*lsize, sigma=1.0, **kwargs) -> groups.se3:
    """Random se3 of leading shape lsize; see LieType.randn."""
    return groups.se3_type.randn(*lsize, sigma=sigma, **kwargs)


def randn_Sim3(*lsize, sigma=1.0, **kwargs) -> groups.Sim3:
    """Random Sim3 of leading shape lsize; see LieType.randn."""
    return groups.Sim3_type.randn(*lsize, sigma=sigma, **kwargs)


def randn_sim3(*lsize, sigma=1.0, **kwargs) -> groups.sim3:
    """Random sim3 of leading shape lsize; see LieType.randn."""
    return groups.sim3_type.randn(*lsize, sigma=sigma, **kwargs)


def randn_RxSO3(*lsize, sigma=1.0, **kwargs) -> groups.RxSO3:
    """Random RxSO3 of leading shape lsize; see LieType.randn."""
    return groups.RxSO3_type.randn(*lsize, sigma=sigma, **kwargs)


def randn_rxso3(*lsize, sigma=1.0, **kwargs) -> groups.rxso3:
    """Random rxso3 of leading shape lsize; see LieType.randn."""
    return groups.rxso3_type.randn(*lsize, sigma=sigma, **kwargs)


def randn_SO2(*lsize, sigma=1.0, **kwargs) -> groups.SO2:
    """Random SO2 of leading shape lsize; see LieType.randn."""
    return groups.SO2_type.randn(*lsize, sigma=sigma, **kwargs)


def randn_so2(*lsize, sigma=1.0, **kwargs) -> groups.so2:
    """Random so2 of leading shape lsize; see LieType.randn."""
    return groups.so2_type.randn(*lsize, sigma=sigma, **kwargs)


def randn_SE2(*lsize, sigma=1.0, **kwargs) -> groups.SE2:
    """Random SE2 of leading shape lsize; see LieType.randn."""
    return groups.SE2_type.randn(*lsize, sigma=sigma, **kwargs)


def randn_se2(*lsize, sigma=1.0, **kwargs) -> groups.se2:
    """Random se2 of leading shape lsize; see LieType.randn."""
    return groups.se2_type.randn(*lsize, sigma=sigma, **kwargs)


def randn_SE23(*lsize, sigma=1.0, **kwargs) -> groups.SE23:
    """Random SE23 of leading shape lsize; see LieType.randn."""
    return groups.SE23_type.randn(*lsize, sigma=sigma, **kwargs)


def randn_se23(*lsize, sigma=1.0, **kwargs) -> groups.se23:
    """Random se23 of leading shape lsize; see LieType.randn."""
    return groups.se23_type.randn(*lsize, sigma=sigma, **kwargs)


def identity_SO3(*lsize, **kwargs) -> groups.SO3:
    """The identity of SO3, in leading shape lsize; see LieType.identity."""
    return groups.SO3_type.identity(*lsize, **kwargs)


def identity_so3(*lsize, **kwargs) -> groups.so3:
    """The identity of so3, in leading shape lsize; see LieType.identity."""
    return groups.so3_type.identity(*lsize, **kwargs)


def identity_SE3(*lsize, **kwargs) -> groups.SE3:
    """The identity of SE3, in leading shape lsize; see LieType.identity."""
    return groups.SE3_type.identity(*lsize, **kwargs)


def identity_se3(*lsize, **kwargs) -> groups.se3:
    """The identity of se3, in leading shape lsize; see LieType.identity."""
    return groups.se3_type.identity(*lsize, **kwargs)


def identity_Sim3(*lsize, **kwargs) -> groups.Sim3:
    """The identity of Sim3, in leading shape lsize; see LieType.identity."""
    return groups.Sim3_type.identity(*lsize, **kwargs)


def identity_sim3(*lsize, **kwargs) -> groups.sim3:
    """The identity of sim3, in leading shape lsize; see LieType.identity."""
    return groups.sim3_type.identity(*lsize, **kwargs)


def identity_RxSO3(*lsize, **kwargs) -> groups.RxSO3:
    """The identity of RxSO3, in leading shape lsize; see LieType.identity."""
    return groups.RxSO3_type.identity(*lsize, **kwargs)


def identity_rxso3(*lsize, **kwargs) -> groups.rxso3:
    """The identity of rxso3, in leading shape lsize; see LieType.identity."""
    return groups.rxso3_type.identity(*lsize, **kwargs)


def identity_SO2(*lsize, **kwargs) -> groups.SO2:
    """The identity of SO2, in leading shape lsize; see LieType.identity."""
    return groups.SO2_type.identity(*lsize, **kwargs)


def identity_so2(*lsize, **kwargs) -> groups.so2:
    """The identity of so2, in leading shape lsize; see LieType.identity."""
    return groups.so2_type.identity(*lsize, **kwargs)


def identity_SE2(*lsize, **kwargs) -> groups.SE2:
    """The identity of SE2, in leading shape lsize; see LieType.identity."""
    return groups.SE2_type.identity(*lsize, **kwargs)


def identity_se2(*lsize, **kwargs) -> groups.se2:
    """The identity of se2, in leading shape lsize; see LieType.identity."""
    return groups.se2_type.identity(*lsize, **kwargs)


def identity_SE23(*lsize, **kwargs) -> groups.SE23:
    """The identity of SE23, in leading shape lsize; see LieType.identity."""
    return groups.SE23_type.identity(*lsize, **kwargs)


def identity_se23(*lsize, **kwargs) -> groups.se23:
    """The identity of se23, in leading shape lsize; see LieType.identity."""
    return groups.se23_type.identity(*lsize, **kwargs)
