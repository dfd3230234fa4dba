"""The recipe by which an IMU corrector is trained on recordings with known states, and judged on others.

Every recording has biases of its own, and a reference that leans and runs by another clock. These constants are
calibrated on the part of it that may be looked at, before and apart from the network: learned is what recordings have
in common (scales and axes, what motion does to the sensor, how good each sample is). An estimator on a robot goes on
estimating biases in the same way.
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pypose_core.inertial import ImuNoise

from .imu_calibration import Calibration, calibrate
from .imu_corrector import ImuCorrector
from .imu_windows import ImuWindows, KnownStates, cut_windows
from .preintegration_level import (
    Motion,
    PreintegrationLevel,
    fixed_corrector,
    negative_log_likelihood,
)
from .trainer import BilevelTrainer, Progress
from .training_config import TrainingConfig

Span = tuple[float, float]


@dataclass(frozen=True)
class Recording:
    """An IMU and known states, with the parts of it (s since the first state) for each purpose; None: no part."""

    name: str
    stamps_ns: NDArray[np.int64]
    imu: NDArray[np.float64]
    states: KnownStates
    train: Span | None = None
    """What is learned from."""
    validation: Span | None = None
    """What decides which epoch is kept."""
    held_out: Span | None = None
    """What nothing is decided on: the numbers that are reported are of it."""


@dataclass(frozen=True)
class ImuTrainingConfig:
    """Parameters of `train_imu_corrector`."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(
        epochs=20, batch_size=32, learning_rate=1e-3, weight_decay=1.0))
    """Of the network; much weight decay, for minutes of flight are little data."""
    noise_training: TrainingConfig = field(default_factory=lambda: TrainingConfig(
        epochs=4, batch_size=32, learning_rate=0.1, weight_decay=0.0))
    """Of the six constants of the noise, before the network."""
    windows: tuple[float, ...] = (1.0, 5.0)
    """s. Lengths to train and report on: long ones weigh what stays, short ones what changes."""
    every: float = 0.5
    """s between the starts of windows."""
    gravity: float = 9.81
    """m/s²."""
    noise: ImuNoise = field(default_factory=lambda: ImuNoise(1.7e-4, 2e-3, 2e-5, 3e-3))
    """What the network starts from and is compared with: the sensor's stated densities."""
    identity: float = 1.0
    """Weight of the mean squares of scale and axis errors in percent and of the convolutions' corrections as shares
    of their limit: what gains nothing stays zero."""
    limit: tuple[float, float] = (1e-4, 0.2)
    """rad/s and m/s². Of those corrections. The gyroscope's is next to nothing: motion capture is no better than it."""
    align: bool = True
    """Let the recordings' references stand upright and in the IMU's clock, see `Calibration`; False: as they are."""
    scales: bool = False
    """Learn scale and axis errors. On EuRoC's flights those that fit one span of minutes make another one worse."""
    channels: int = 8
    """Of the network."""
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Of the network."""

    @property
    def level(self) -> PreintegrationLevel:
        return PreintegrationLevel(torch.tensor([0.0, 0.0, -self.gravity], dtype=torch.float64))


@dataclass(frozen=True)
class Score:
    """One line of the comparison: a front-end on windows of one length."""

    front_end: str
    seconds: float
    windows: int
    rotation_deg: float
    velocity_m_s: float
    position_m: float
    nees: float
    """Expected is 9."""

    @staticmethod
    def of(name: str, seconds: float, motion: Motion) -> 'Score':
        return Score(name, seconds, len(motion.error), **motion.rmse(), nees=motion.nees())


@dataclass(frozen=True)
class TrainedCorrector:
    """What `train_imu_corrector` returns."""

    corrector: ImuCorrector
    """With the biases of the last recording."""
    history: list[Progress]
    scores: list[Score]
    """On the held-out parts: with the calibrated biases and fixed noise, and learned."""
    calibrations: dict[str, Calibration]
    """Of each recording, from its train and validation parts."""


def train_imu_corrector(recordings: Sequence[Recording], config: ImuTrainingConfig | None = None, *,
                        known: dict[str, Tensor] | None = None,
                        progress: Callable[[Progress], None] = lambda progress: None) -> TrainedCorrector:
    """Train on the train parts, keep the epoch that is best on the validation parts, report the held-out ones.

    Args:
        known: other biases (6,) of the held-out recording to compare with, by a name for the table.
        progress: called after each epoch, those of the noise's constants first.
    """
    config = config or ImuTrainingConfig()
    torch.manual_seed(config.training.seed)
    rate = 1e9 / float(np.median(np.diff(recordings[-1].stamps_ns)))
    corrector = ImuCorrector(rate=float(f'{rate:.4g}'), channels=config.channels, dilations=config.dilations,
                             limit=config.limit)
    found = {one.name: calibration(one, config) for one in recordings}
    reference = found[recordings[-1].name].bias
    corrector.calibrate(reference, config.noise, bias_sigma=(1e-4, 1e-2))
    parts = {purpose: [_windows(recordings, found, reference, purpose, seconds, config, corrector.receptive_field - 1)
                       for seconds in config.windows] for purpose in ('train', 'validation', 'held_out')}
    level = config.level
    given = {purpose: [one for one in sets if one is not None] for purpose, sets in parts.items()}
    corrector.scale_inputs(given['train'][0].samples)
    history: list[Progress] = []
    noise = [corrector.log_density, corrector.log_walk, corrector.log_bias_sigma]
    kept = [corrector.bias] if config.scales else [corrector.bias, corrector.mixing]    # calibrated, see above
    network = [p for p in corrector.parameters() if not any(p is one for one in kept)]
    for stage, learned in ((config.noise_training, noise), (config.training, network)):
        for parameter in corrector.parameters():
            parameter.requires_grad_(any(parameter is one for one in learned))
        trainer = BilevelTrainer(corrector, level, _Loss(corrector, config.identity), stage)
        history += trainer.fit(given['train'], validation=given['validation'], progress=progress)
    corrector.eval()
    scores = []
    with torch.no_grad():
        for seconds, windows in zip(config.windows, parts['held_out']):
            if windows is not None:
                lines = {'biases calibrated on the training part, stated noise': reference,
                         **{f'{name}, stated noise': bias for name, bias in (known or {}).items()}}
                scores += [Score.of(name, seconds, level(fixed_corrector(bias, config.noise), windows))
                           for name, bias in lines.items()]
                scores.append(Score.of('learned', seconds, level(corrector, windows)))
    return TrainedCorrector(corrector, history, scores, found)


class _Loss:
    """Likelihood, and the pull towards doing nothing."""

    def __init__(self, corrector: ImuCorrector, identity: float):
        self._corrector, self._identity = corrector, identity

    def __call__(self, motion: Motion, windows: ImuWindows) -> Tensor:
        loss = negative_log_likelihood(motion)
        if self._corrector.training:
            percent = 100 * self._corrector.mixing
            loss = loss + self._identity * (percent.square().mean() + motion.change.square().mean())
        return loss


def held_out_windows(recordings: Sequence[Recording], corrector: ImuCorrector, config: ImuTrainingConfig,
                     seconds: float) -> ImuWindows | None:
    """What the scores are of: windows of a length from the held-out parts, with the corrector's biases; None where
    nothing is held out."""
    found = {one.name: calibration(one, config) for one in recordings}
    return _windows(recordings, found, corrector.bias.detach().double(), 'held_out', seconds, config,
                    corrector.receptive_field - 1)


def calibration(recording: Recording, config: ImuTrainingConfig) -> Calibration:
    """The recording's constants, from its train and validation parts."""
    spans = [span for span in (recording.train, recording.validation) if span is not None]
    if not spans:
        raise ValueError(f'{recording.name}: its biases need a part to be calibrated on')
    span = min(a for a, _ in spans), max(b for _, b in spans)
    windows = cut_windows(recording.stamps_ns, recording.imu, recording.states, seconds=1.0, every=1.0, context=0,
                          span=span)
    return calibrate(windows, config.level.gravity, reference=config.align)


def _windows(recordings: Sequence[Recording], found: dict[str, Calibration], reference: Tensor, purpose: str,
             seconds: float, config: ImuTrainingConfig, context: int) -> ImuWindows | None:
    """All of one purpose and length, every recording's biases exchanged for the reference ones."""
    parts = []
    for one in recordings:
        span = getattr(one, purpose)
        if span is not None:
            own = found[one.name]
            parts.append(cut_windows(one.stamps_ns, one.imu - (own.bias - reference).numpy(), own.apply(one.states),
                                     seconds=seconds, every=config.every, context=context, span=span))
    return ImuWindows.joined(parts) if parts else None
