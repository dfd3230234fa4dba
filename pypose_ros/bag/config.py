"""A node's parameters for a replay: the same file, the same declaration, the same errors."""
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pypose_ros.nodes.imu_preintegration_params import (
    NODE_NAME,
    ImuPreintegrationParams,
    check,
)
from pypose_ros.params import ParameterError, build, load_yaml

from .errors import BagError

Params = TypeVar('Params')


def load_parameters(path: str | Path | None, overrides: Sequence[str] = ()) -> ImuPreintegrationParams:
    """Those of imu_preintegration; see `load_parameters_of`."""
    return load_parameters_of(NODE_NAME, ImuPreintegrationParams, check, path, overrides)


def load_parameters_of(node: str, kind: type[Params], check: Callable[[Params], object], path: str | Path | None,
                       overrides: Sequence[str] = ()) -> Params:
    """The parameters of a file (defaults without one) and of `name:=value` overrides, as ROS takes them.

    Args:
        node: its name.
        kind: dataclass of the parameters.
        check: raises ValueError where they contradict each other.

    Raises:
        BagError: the file or a parameter is no good; it says which and why.
    """
    try:
        values = load_yaml(path, node) if path is not None else {}
        if path is not None and not values:
            raise BagError(f'{path}: nothing in it for the node {node}')
        values |= dict(map(_override, overrides))
        params = build(kind, values)
        check(params)
        return params
    except ParameterError as error:
        prefix = '' if path is None or str(path) in str(error) else f'{path}: '
        raise BagError(f'{prefix}{error}') from None
    except ValueError as error:
        raise BagError(f'{path or "parameters"}: {error}') from None


def _override(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition(':=')
    if not separator or not name:
        raise BagError(f'-p {text}: wants name:=value')
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        raise BagError(f'-p {text}: {value!r} is not YAML') from None
