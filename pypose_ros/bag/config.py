"""The node's parameters for a replay: the same file, the same declaration, the same errors."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pypose_ros.nodes.imu_preintegration_params import (
    NODE_NAME,
    ImuPreintegrationParams,
    check,
)
from pypose_ros.params import ParameterError, build, load_yaml

from .errors import BagError


def load_parameters(path: str | Path | None, overrides: Sequence[str] = ()) -> ImuPreintegrationParams:
    """The parameters of a file (defaults without one) and of `name:=value` overrides, as ROS takes them.

    Raises:
        BagError: the file or a parameter is no good; it says which and why.
    """
    try:
        values = load_yaml(path, NODE_NAME) if path is not None else {}
        if path is not None and not values:
            raise BagError(f'{path}: nothing in it for the node {NODE_NAME}')
        values |= dict(map(_override, overrides))
        params = build(ImuPreintegrationParams, values)
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
