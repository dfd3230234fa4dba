"""How a network is trained."""
import math
from dataclasses import dataclass

SCHEDULES = ('constant', 'cosine')
PRECISIONS = ('float32', 'bfloat16')


@dataclass(frozen=True)
class TrainingConfig:
    """Parameters of `BilevelTrainer`."""

    epochs: int = 20
    """Times that the training data is seen."""
    batch_size: int = 32
    """Of one step, over all processes."""
    learning_rate: float = 3e-3
    """Of Adam, at its highest."""
    schedule: str = 'cosine'
    """constant, or cosine: down to a hundredth over the run, which needs no tuning of its end."""
    warmup: float = 0.05
    """Share of the steps over which the learning rate rises from nothing: Adam's moments are unknown at first."""
    grad_clip: float = 1.0
    """Largest norm of a gradient; a window with a wrong end has a huge one."""
    weight_decay: float = 1e-2
    """Of AdamW, on matrices only: pulls the network to doing nothing."""
    precision: str = 'float32'
    """float32, or bfloat16: the network under autocast; the lower level keeps its own precision."""
    seed: int = 0
    """Of the order of the data; initial weights are the caller's."""
    keep_best: bool = True
    """Where there is held-out data, end with the weights that were best on it, those of the start among them."""

    def __post_init__(self):
        if self.schedule not in SCHEDULES or self.precision not in PRECISIONS:
            raise ValueError(f'schedule {self.schedule!r} is one of {SCHEDULES}, precision {self.precision!r} of '
                             f'{PRECISIONS}')
        if min(self.epochs, self.batch_size) < 1 or min(self.learning_rate, self.grad_clip) <= 0:
            raise ValueError(f'epochs {self.epochs}, batch_size {self.batch_size}, learning_rate {self.learning_rate}, '
                             f'grad_clip {self.grad_clip} must be positive')
        if not 0 <= self.warmup < 1 or self.weight_decay < 0:
            raise ValueError(f'warmup {self.warmup} is in [0, 1), weight_decay {self.weight_decay} not negative')

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate of a step of `steps`."""
        rising = self.warmup * steps
        if step < rising:
            return self.learning_rate * (step + 1) / (rising + 1)
        if self.schedule == 'constant':
            return self.learning_rate
        share = (step - rising) / max(1.0, steps - rising)
        return self.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)
