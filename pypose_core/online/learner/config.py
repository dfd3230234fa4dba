"""Parameters of the learner."""
from dataclasses import dataclass, field

from pypose_core.inertial import ImuNoise


@dataclass(frozen=True)
class LearnerConfig:
    """Parameters of `CorrectorLearner`."""

    window: float = 10.0
    """s of one example: long enough for its first part to tell the velocity, and for errors to show in the rest."""
    observed: float = 0.7
    """Share of a window whose keyframes the estimate may look at; the rest is predicted, and that is judged. Tilt and
    velocity at its end are never known exactly, which makes predicted positions useless within seconds."""
    buffer: float = 900.0
    """s of samples that are kept; 200 Hz take 11 MB."""
    validation_fraction: float = 0.25
    """Of the windows, which are never trained on."""
    min_windows: int = 6
    """Held-out windows without which nothing is promoted."""
    promote_margin: float = 0.05
    """Share by which the held-out loss must fall for a promotion."""
    steps: int = 20
    """Of the optimizer in one round of training; validation comes after each round."""
    batch_size: int = 4
    """Windows of one step."""
    learning_rate: float = 1e-3
    """Of Adam: a scale or an axis moves by 0.1 % in a step."""
    grad_clip: float = 1.0
    """Largest norm of a gradient."""
    seed: int = 0
    """Of the order of windows and of the network's first weights."""
    gravity: float = 9.80665
    """m/s²."""
    noise: ImuNoise = field(default_factory=lambda: ImuNoise(1.7e-4, 2e-3, 2e-5, 3e-3))
    """Stated noise of the sensor."""
    channels: int = 8
    """Width of the network."""
    max_gap: float = 0.05
    """s between samples; a window with a longer gap is not used."""
    pose_sigma: tuple[float, float] = (0.01, 0.03)
    """rad and m of the keyframes against each other within a window."""
    bias_sigma: tuple[float, float] = (2e-3, 0.02)
    """rad/s and m/s² by which the biases of a window may differ from those that the corrector takes off."""
    error_scale: tuple[float, float] = (0.02, 0.2)
    """rad and m of prediction error that count alike, and beyond which errors count linearly."""

    def __post_init__(self):
        if not (0 < self.observed < 1 and 0 < self.validation_fraction <= 0.5 and 0 <= self.promote_margin < 1):
            raise ValueError(f'observed {self.observed} is in (0, 1), validation_fraction {self.validation_fraction} '
                             f'in (0, 0.5], promote_margin {self.promote_margin} in [0, 1)')
        if min(self.window, self.learning_rate, self.grad_clip, self.gravity) <= 0 or self.buffer < 2 * self.window:
            raise ValueError(f'window {self.window}, learning_rate {self.learning_rate}, grad_clip {self.grad_clip} '
                             f'are positive, and buffer {self.buffer} holds two windows')
        if min(self.min_windows, self.steps, self.batch_size, self.channels) < 1:
            raise ValueError('min_windows, steps, batch_size and channels are at least 1')
