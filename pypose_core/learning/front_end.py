"""What a front-end is to checkpoints, trainers and nodes: any module of yours that has two attributes."""
from importlib import import_module
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from .imu_corrector import ImuCorrector
from .loop_verifier import LoopVerifier
from .odometry_uncertainty import OdometryUncertainty


@runtime_checkable
class FrontEnd(Protocol):
    """An `nn.Module` with a name for its class and the arguments that make another one like it.

        class MyNetwork(torch.nn.Module):
            kind = 'my_network'

            def __init__(self, *, width: int):
                super().__init__()
                self.architecture = {'width': width}
                ...
    """

    kind: ClassVar[str]
    """Name of the class in files."""
    architecture: dict[str, Any]
    """Keyword arguments of the constructor: numbers, strings, lists of them."""

    def state_dict(self) -> dict[str, Tensor]: ...

    def forward(self, *inputs: Any, **named: Any) -> Any: ...


KINDS: dict[str, type[nn.Module]] = {cls.kind: cls for cls in (ImuCorrector, OdometryUncertainty, LoopVerifier)}
"""The front-ends that come with the package."""


def front_end_class(name: str) -> type[nn.Module]:
    """A class of a user's own, by 'package.module:Class'; what a file of weights names is never imported.

    Raises:
        ValueError: it cannot be imported, or is no front-end.
    """
    module, _, cls = name.partition(':')
    try:
        found = getattr(import_module(module), cls)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f'{name!r} is no class that can be imported, as package.module:Class: {error}') from None
    if not (isinstance(found, type) and issubclass(found, nn.Module) and isinstance(getattr(found, 'kind', None), str)):
        raise ValueError(f'{name} is no front-end: an nn.Module whose class has a `kind`')
    return found
