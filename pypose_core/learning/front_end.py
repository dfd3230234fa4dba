"""What a front-end is to checkpoints, trainers and nodes: any module of yours that has two attributes."""
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
