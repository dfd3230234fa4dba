"""Training a front-end through a solver: the upper level of a bilevel problem."""
import contextlib
import copy
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from .checkpoint import CheckpointError, write_atomically
from .parallel import average_gradients, process_rank, sum_over_processes
from .training_config import TrainingConfig


class Data(Protocol):
    """A set of examples; what an index tensor gives is a batch, in whatever form the lower level takes."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor) -> Any: ...


@dataclass(frozen=True)
class Progress:
    """After an epoch."""

    epoch: int
    step: int
    loss_train: float
    """Mean over the epoch, as the weights were at each step."""
    loss_validation: float | None
    learning_rate: float
    gradient_norm: float
    """Mean over the epoch, before clipping."""
    skipped: int
    """Steps of the epoch without a finite gradient: they were not taken."""


def _several(data: Data | Sequence[Data]) -> list[Data]:
    """One set is a list of one; only lists and tuples hold several, for a set looks like a sequence itself."""
    return list(data) if isinstance(data, list | tuple) else [cast(Data, data)]


class BilevelTrainer:
    """Trains a network on what a solver makes of its outputs.

        upper   min over w of the mean of loss(x*, batch)
        lower   x* = lower(network_w, batch), the solution of an optimization (or an integration)

    Gradients come through `lower` in its own way: a `SolverLayer` gives implicit ones, or those of one or more of its
    last steps. The loss compares the solution with ground truth or with the back-end's own result, or asks of it only
    that it agrees with itself.

        trainer = BilevelTrainer(ImuCorrector(), PreintegrationLevel(gravity), negative_log_likelihood)
        history = trainer.fit(windows, validation=others)

    Under torchrun each process takes its part of each batch and the gradients are averaged: the same steps as of one
    process, to rounding. Deterministic for a seed and a number of processes.

    Args:
        network: upper level; trained in place.
        lower: (network, batch) -> solution, differentiable by the network's outputs.
        loss: (solution, batch) -> mean over the batch.
        config: parameters.
    """

    def __init__(self, network: nn.Module, lower: Callable[[Callable[..., Any], Any], Any],
                 loss: Callable[[Any, Any], Tensor], config: TrainingConfig | None = None):
        self.network, self.lower, self.loss = network, lower, loss
        self.config = config or TrainingConfig()
        matrices = [p for p in network.parameters() if p.dim() == 2 or p.dim() > 3]
        kernels = [p for name, p in network.named_parameters() if p.dim() == 3]
        rest = [p for p in network.parameters() if p.dim() < 2]
        self.optimizer = torch.optim.AdamW(
            [{'params': matrices + kernels, 'weight_decay': self.config.weight_decay},
             {'params': rest, 'weight_decay': 0.0}], lr=self.config.learning_rate)
        self.epoch = self.step = 0
        self.history: list[Progress] = []
        self._best: tuple[float, dict[str, Tensor]] | None = None

    def fit(self, data: Data | Sequence[Data], *, validation: Data | Sequence[Data] | None = None,
            progress: Callable[[Progress], None] = lambda progress: None, until: int | None = None) -> list[Progress]:
        """Train to the last epoch, from where the trainer stands.

        Args:
            data: one set, or several whose batches alternate at random (windows of different lengths).
            validation: sets that are never trained on.
            progress: called after each epoch.
            until: epoch to stop before, to go on later; the schedule is that of the whole run.
        """
        sets, checks = _several(data), [] if validation is None else _several(validation)
        if not sum(len(one) for one in sets):
            raise ValueError('there is nothing to train on: the data is empty')
        if self.epoch == 0 and checks and self.config.keep_best:
            self._best = self._check(checks), copy.deepcopy(self.network.state_dict())
        for _ in range(self.epoch, min(self.config.epochs, until or self.config.epochs)):
            progress(self._train_epoch(sets, checks))
        if self._best is not None and self.epoch == self.config.epochs:
            self.network.load_state_dict(self._best[1])
        return self.history

    def train_step(self, batch: Any | None, *, rate: float | None = None, share: float = 1.0) -> tuple[float, float]:
        """One step on a batch; returns the loss and the gradient's norm, nan where no step was taken.

        Args:
            batch: None where other processes hold all of it, and need only this one's part of the sum.
            rate: learning rate; the configured one by default.
            share: of the whole batch, where other processes hold the rest.
        """
        for group in self.optimizer.param_groups:
            group['lr'] = self.config.learning_rate if rate is None else rate
        self.optimizer.zero_grad(set_to_none=True)
        value = 0.0
        if batch is not None:
            loss = self._evaluate(batch)
            (loss * share).backward()
            value = float(loss.detach())
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        average_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.config.grad_clip)
        if bool(norm.isfinite()):
            self.optimizer.step()
            self.step += 1
        return value, float(norm)

    @torch.no_grad()
    def evaluate(self, data: Data, *, batch_size: int = 256) -> float:
        """Mean loss over a set, with the weights as they are."""
        total, training = 0.0, self.network.training
        self.network.eval()
        for index in torch.arange(len(data)).split(batch_size):
            total += float(self._evaluate(data[index])) * len(index)
        self.network.train(training)
        return total / max(1, len(data))

    def save(self, path: str | Path) -> None:
        """Everything that `resume` needs to go on as if there had been no stop, in one atomic file."""
        content = {'format': 'pypose_ros training', 'network': self.network.state_dict(),
                   'optimizer': self.optimizer.state_dict(), 'epoch': self.epoch, 'step': self.step,
                   'best': self._best, 'history': [vars(one) for one in self.history]}
        data = io.BytesIO()
        torch.save(content, data)
        write_atomically(path, data.getvalue())

    def resume(self, path: str | Path) -> None:
        """Go on from `save`.

        Raises:
            CheckpointError: the file is not one of a training, or of another network.
        """
        try:
            content = torch.load(path, map_location='cpu', weights_only=True)
            if content.get('format') != 'pypose_ros training':
                raise KeyError('format')
            self.network.load_state_dict(content['network'])
            self.optimizer.load_state_dict(content['optimizer'])
        except Exception as error:
            raise CheckpointError(f'{path}: not a training to resume here: {str(error).splitlines()[0]}') from None
        self.epoch, self.step, self._best = content['epoch'], content['step'], content['best']
        self.history = [Progress(**one) for one in content['history']]

    # ---------------------------------------------------------------------------------------------

    def _evaluate(self, batch: Any) -> Tensor:
        def network(*inputs, **named):
            with self._autocast():
                return self.network(*inputs, **named)

        return self.loss(self.lower(network, batch), batch)

    def _check(self, checks: Sequence[Data]) -> float:
        sizes = [len(one) for one in checks]
        return sum(self.evaluate(one) * size for one, size in zip(checks, sizes)) / sum(sizes)

    def _autocast(self):
        if self.config.precision == 'float32':
            return contextlib.nullcontext()
        device = next(self.network.parameters()).device.type
        return torch.autocast(device, torch.bfloat16)

    def _batches(self, sets: Sequence[Data]) -> Iterator[tuple[int, Tensor]]:
        """(set, indices) of the epoch's batches: a function of seed and epoch alone."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.epoch)
        batches = [(which, index) for which, one in enumerate(sets)
                   for index in torch.randperm(len(one), generator=generator).split(self.config.batch_size)]
        yield from (batches[k] for k in torch.randperm(len(batches), generator=generator).tolist())

    def _steps(self, sets: Sequence[Data]) -> int:
        return self.config.epochs * sum(-(-len(one) // self.config.batch_size) for one in sets)

    def _train_epoch(self, sets: Sequence[Data], checks: Sequence[Data]) -> Progress:
        self.network.train()
        rank, world = process_rank()
        steps, done = self._steps(sets), self.epoch * self._steps(sets) // self.config.epochs
        losses, norms, rate, skipped = [], [], 0.0, 0
        for number, (which, index) in enumerate(self._batches(sets)):
            rate = self.config.rate_at(done + number, steps)
            mine = index[rank::world]
            share = len(mine) / len(index)
            loss, norm = self.train_step(sets[which][mine] if len(mine) else None, rate=rate, share=share)
            losses.append(sum_over_processes(loss * share))
            norms.append(norm)
            skipped += not torch.tensor(norm).isfinite()
        self.epoch += 1
        validation = None
        if checks:
            validation = self._check(checks)
            if self.config.keep_best and validation < (self._best[0] if self._best else float('inf')):
                self._best = validation, copy.deepcopy(self.network.state_dict())
        self.history.append(Progress(self.epoch, self.step, sum(losses) / len(losses), validation, rate,
                                     sum(norms) / len(norms), skipped))
        return self.history[-1]
