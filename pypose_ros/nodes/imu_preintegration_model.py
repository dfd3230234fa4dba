"""The learned front-end of imu_preintegration: files are read in the worker, and taken up between two samples."""
from collections import deque
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from pypose_core.online import ImuSmoother
from pypose_ros.diagnostics import Diagnostics
from pypose_ros.msg import Weights
from pypose_ros.worker import Worker

if TYPE_CHECKING:
    from pypose_core.online.imu_front_end import Corrector


@dataclass(frozen=True)
class Model:
    """A corrector that is ready to run, and where it is from."""

    stream: 'Corrector'
    path: str
    sha256: str
    version: int

    def __str__(self) -> str:
        return f'{self.path} version {self.version} ({self.sha256[:12]})'


def load_model(path: str, sha256: str = '', own: str = '') -> Model:
    """Read a file of an ImuCorrector, or of a class of a user's own. ValueError: it cannot be used, and why."""
    # The networks take longer to import than all the rest: only where there is one.
    from pypose_core.learning import CheckpointError, ImuCorrector, front_end_class, load_checkpoint
    cls = front_end_class(own) if own else ImuCorrector
    checkpoint = load_checkpoint(path, sha256=sha256 or None, cls=cls)
    try:        # a class of one's own may do anything: not for the first time at the rate of the IMU
        stream = checkpoint.front_end.stream()      # type: ignore[operator]
        found = [stream.step(np.zeros(6)), stream.steady(np.zeros(6)), stream.density, stream.walk]
        stream.reset()
        usable = all(np.shape(x) == (6,) and np.isfinite(x).all() for x in found) and stream.rate > 0
    except Exception as error:
        raise CheckpointError(f'{path}: its {cls.__name__} cannot correct a sample: {error}') from error
    if not usable or stream.receptive_field < 1:
        raise CheckpointError(f'{path}: its {cls.__name__} does not make 6 finite numbers of a sample')
    return Model(stream, path, checkpoint.sha256, checkpoint.metadata.version)


@dataclass
class Loading:
    """Reads an announced file, in the worker; `ended` gets the announcement with a Model or the reason."""

    announced: Weights
    own: str
    ended: deque = field(repr=False)

    def run(self) -> None:
        found: Model | str = 'it could not be read'
        try:
            found = load_model(self.announced.path, self.announced.sha256, self.own)
        except ValueError as error:
            found = str(error)
        finally:
            self.ended.append((self.announced, found))


class ModelSlot:
    """Which corrector an estimator runs; refusals are counted and leave it as it is.

    Args:
        path: file to start with, or none. ValueError where it cannot be used.
        own: class of a user's own that the weights are of, or nothing.
        reload: whether others will be announced.
        worker: reads files.
        diagnostics: counts refusals as `weights`.
        info: logs what was taken up.
    """

    def __init__(self, path: str, own: str, reload: bool, worker: Worker, diagnostics: Diagnostics, info):
        self._worker, self._diagnostics, self._info, self._own = worker, diagnostics, info, own
        self._ended: deque = deque()
        if reload:
            import_module('pypose_core.learning')       # now, and not between two samples
        try:
            self._model = None if path == 'none' else load_model(path, own=own)
        except ValueError as error:
            raise ValueError(f'model: {error}') from None
        self._estimator: ImuSmoother | None = None

    def announce(self, message: Weights, *, allowed: bool) -> None:
        """Weights were announced: read them."""
        if allowed:
            self._worker.submit(Loading(message, self._own, self._ended))
        else:
            self._refuse(message, 'allow_reload is false')

    def equip(self, estimator: ImuSmoother) -> None:
        """A new estimator begins with the present model."""
        self._estimator = estimator
        if self._model is not None:
            estimator.use_corrector(self._model.stream)

    def take_up(self) -> None:
        """Hand what the worker has read to the estimator."""
        while self._ended:
            message, found = self._ended.popleft()
            reason = found if isinstance(found, str) else ''
            if not reason and self._estimator is not None:
                reason = self._estimator.use_corrector(found.stream)
            if reason:
                self._refuse(message, reason)
                continue
            self._model = found
            self._info(f'weights {found} follow')

    def _refuse(self, message: Weights, reason: str) -> None:
        kept = 'samples are used as they come' if self._model is None else f'{self._model} stays'
        self._diagnostics.drop(
            'weights', f'weights {message.path!r} version {message.version} refused: {reason}; {kept}')

    @property
    def name(self) -> str:
        """For the diagnostics: what is in use, or will be in a moment."""
        if self._model is None:
            return 'none'
        in_use = self._estimator is not None and self._estimator.corrector is self._model.stream
        return f'{self._model}{"" if in_use else ", not in use yet"}'
