"""Trains an IMU corrector on windows of a robot's own drives, with its pose graph as the teacher.

    the first keyframes of a window, as the graph has them   ->  state and biases there     (lower level)
    corrected samples from there on                          ->  where the robot went
    the other keyframes, as the graph has them               ->  how wrong that is          (upper level)
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pypose_core.learning import (
    BilevelTrainer,
    Checkpoint,
    CheckpointError,
    ImuCorrector,
    KeyframeWindow,
    Metadata,
    TrainingConfig,
    TrajectoryLevel,
)
from pypose_core.lie import so3
from pypose_core.metric import Trajectory

from .config import LearnerConfig
from .history import ImuHistory, at_imu, cut
from .promotion import Judgement, judge
from .store import WeightStore, corrector_of

CALIBRATED = 16
"""Windows that tell the biases in a round."""


@dataclass(frozen=True)
class Report:
    """What a round of training ended with."""

    step: int
    loss_train: float
    loss_validation: float
    """Of the candidate."""
    loss_current: float
    """Of the weights in use, on the same windows."""
    windows: int
    """Of which validation were held out."""
    held_out: int
    judgement: Judgement
    relapse: Judgement
    """Whether the version before is better than the one in use, on windows recorded since its promotion."""
    sha256: str
    """Of the candidate's file."""
    true_errors: tuple[tuple[float, float], tuple[float, float]] | None = None
    """Where ground truth is there: rad and m by which the first weights and those in use err on held-out windows."""

    @property
    def truth(self) -> str:
        """They in words; empty without."""
        if self.true_errors is None:
            return ''
        first, now = self.true_errors
        return (f'by ground truth {first[0]:.4f} rad and {first[1]:.3f} m at first, {now[0]:.4f} rad and '
                f'{now[1]:.3f} m with the weights in use')


class KeyframeWindows:
    """Windows as a trainer takes them."""

    def __init__(self, windows: Sequence[KeyframeWindow]):
        self._windows = list(windows)

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: Tensor) -> list[KeyframeWindow]:
        return [self._windows[k] for k in index.tolist()]


def prediction_errors(states: Tensor, window: KeyframeWindow) -> tuple[Tensor, Tensor]:
    """Rotation (K', 3) rad and position (K', 3) m between predicted keyframes and the graph's."""
    away = ~window.used
    found, wanted = states[away], window.poses[away]
    return so3.log(so3.mul(so3.inv(found[:, 3:7]), wanted[:, 3:])), wanted[:, :3] - found[:, :3]


class CorrectorLearner:
    """Samples and keyframes in; weights out, once they are better.

        learner.add_imu(stamp_ns, sample)                    # callback thread, cheap
        learner.set_keyframes(stamps_ns, T_map_base)         # the whole graph as it is now
        job = learner.begin_round()                          # None where there is not enough yet
        job.run()                                            # any thread, minutes are no harm
        report = learner.finish(job)
        if report.judgement: path = learner.promote()

    Args:
        config: parameters.
        store: folder of the weights; training goes on where it stopped.
        T_base_imu: (7,).
    """

    def __init__(self, config: LearnerConfig, store: WeightStore, *, T_base_imu=(0, 0, 0, 0, 0, 0, 1)):
        self.config, self.store = config, store
        self._T_base_imu = np.array(T_base_imu, float)
        self.history = ImuHistory(config.buffer)
        self.true_poses = ImuHistory(config.buffer, width=7)
        self._keyframes = np.zeros(0, np.int64), np.zeros((0, 7))
        self._promoted_ns = 0
        rotation, position = config.error_scale
        self._scale = torch.tensor([rotation] * 3 + [position] * 3, dtype=torch.float64)
        gravity = torch.tensor([0.0, 0.0, -config.gravity], dtype=torch.float64)
        self.level = TrajectoryLevel(gravity, pose_sigma=config.pose_sigma, bias_sigma=config.bias_sigma)
        self._loose = TrajectoryLevel(gravity, pose_sigma=config.pose_sigma, bias_sigma=(0.1, 1.0))
        self.trainer: BilevelTrainer | None = None
        self.report: Report | None = None
        self.rounds = 0
        if store.in_use is not None:
            trainer = self._use(store.load(store.in_use))
            if store.training.exists():
                trainer.resume(store.training)

    # --- inputs, in the thread of the callbacks --------------------------------------------------

    def add_imu(self, stamp_ns: int, sample: NDArray) -> bool:
        """A raw sample (6,); False where it cannot be used."""
        return self.history.append(stamp_ns, sample)

    def set_keyframes(self, stamps_ns: NDArray[np.int64], T_map_base: NDArray) -> None:
        """All keyframes (M,), (M, 7) as the graph estimates them now."""
        self._keyframes = stamps_ns, T_map_base

    def add_truth(self, stamp_ns: int, T_world_base: NDArray) -> bool:
        """A true pose (7,), for evaluation only: nothing is trained or decided on it."""
        return self.true_poses.append(stamp_ns, T_world_base)

    def forget(self) -> None:
        """The clock began anew."""
        self.history.clear()
        self.true_poses.clear()
        self._keyframes = np.zeros(0, np.int64), np.zeros((0, 7))

    def begin_round(self) -> 'Round | None':
        """The next round; `run` it in any thread, one at a time, then `finish` it here."""
        if len(self._keyframes[0]) < 2 or not len(self.history):
            return None
        return Round(self, *self.history.snapshot(), *self._keyframes, self.true_poses.snapshot())

    def finish(self, job: 'Round') -> Report | None:
        """Take up a round's result; None where there were too few windows to train on."""
        self.report = job.report or self.report
        return job.report

    # --- what a round does, in its thread --------------------------------------------------------

    def windows(self, stamps, samples, keyframes_ns, poses) -> tuple[list, list, list[int]]:
        """Windows for training, held-out ones, and the stamps at which the latter begin."""
        config = self.config
        found, numbers = cut(stamps, samples, keyframes_ns, at_imu(poses, self._T_base_imu), seconds=config.window,
                             observed=config.observed, context=64, max_gap=config.max_gap)
        every = round(1 / config.validation_fraction)
        train = [w for w, n in zip(found, numbers) if n % every]
        held = [(w, round(n * config.window * 1e9)) for w, n in zip(found, numbers) if n % every == 0]
        return train, [w for w, _ in held], [begin for _, begin in held]

    def start(self, windows: Sequence[KeyframeWindow], rate: float) -> None:
        """The first weights: biases that explain the windows, all else as the sensor gives it. They are version 1."""
        torch.manual_seed(self.config.seed)
        corrector = ImuCorrector(rate=round(rate, 1), channels=self.config.channels)
        corrector.calibrate(torch.zeros(6), self.config.noise)
        for _ in range(2):
            self.calibrate(corrector, windows)
        corrector.scale_inputs(torch.cat([w.samples for w in windows]))
        self._use(self.store.load(self.store.promote(
            self.store.offer(corrector, Metadata(rate=rate, seed=self.config.seed, note='biases only')).sha256)))

    @torch.no_grad()
    def calibrate(self, corrector: ImuCorrector, windows: Sequence[KeyframeWindow]) -> None:
        """Take off the biases that the windows' trajectories still have in common."""
        found = [self._loose(corrector, replace(w, used=torch.ones_like(w.used))).states[:, 10:].mean(0)
                 for w in windows]
        corrector.bias.add_(torch.stack(found).median(0).values)

    def losses(self, corrector: ImuCorrector, windows: Sequence[KeyframeWindow]) -> NDArray[np.float64]:
        """(N,) of each window, nan where it cannot be estimated."""
        found = np.full(len(windows), np.nan)
        with torch.no_grad():
            for k, window in enumerate(windows):
                try:
                    found[k] = float(self._loss([self.level(corrector, window)], [window]))
                except (RuntimeError, ValueError, torch.linalg.LinAlgError):
                    continue        # weights so bad that there is no estimate: judged as not finite
        return found

    def rmse(self, corrector: ImuCorrector, windows: Sequence[KeyframeWindow]) -> tuple[float, float]:
        """Root mean square of the predictions' errors, rad and m, over all predicted keyframes."""
        with torch.no_grad():
            errors = [prediction_errors(self.level(corrector, w).states, w) for w in windows]
        rotation, position = (float(torch.cat(part).square().sum(1).mean().sqrt()) for part in zip(*errors))
        return rotation, position

    # --- weights ---------------------------------------------------------------------------------

    def promote(self) -> str:
        """Use the candidate from now on; its file.

        Raises:
            CheckpointError: there is none that is better than what is in use.
        """
        if self.report is None or not self.report.judgement:
            raise CheckpointError('no candidate is better than the weights in use: ' + (
                'no round has ended yet' if self.report is None else self.report.judgement.sentence))
        path = self.store.promote(self.report.sha256)
        self.current = corrector_of(self.store.load(path))
        self._promoted_ns = self.history.newest_ns
        self.report = replace(self.report, judgement=Judgement(False, 'it is in use'))
        return str(path)

    def roll_back(self) -> str:
        """Use the version before again, and train on from it; its file."""
        path = self.store.roll_back()
        self._use(self.store.load(path))
        self.store.training.unlink(missing_ok=True)
        self.report = None
        return str(path)

    def save(self) -> None:
        """Everything that a restart needs."""
        if self.trainer is not None:
            self.trainer.save(self.store.training)

    def _use(self, checkpoint: Checkpoint) -> BilevelTrainer:
        """Weights in use, and a copy of them to train on."""
        self.current = front_end = corrector_of(checkpoint)
        network = ImuCorrector(**front_end.architecture).to(front_end.bias.dtype)
        network.load_state_dict(front_end.state_dict())
        # Predictions do not tell the noise, and biases are found in closed form, far better than by steps of Adam.
        for parameter in (network.bias, network.log_density, network.log_walk, network.log_bias_sigma):
            parameter.requires_grad_(False)
        config = self.config
        self.trainer = BilevelTrainer(network, self._solve, self._loss, TrainingConfig(
            epochs=1, batch_size=config.batch_size, learning_rate=config.learning_rate, schedule='constant',
            warmup=0.0, grad_clip=config.grad_clip, seed=config.seed))
        return self.trainer

    def _solve(self, network: Callable, batch: Sequence[KeyframeWindow]):
        return [self.level(network, window) for window in batch]

    def _loss(self, solutions, batch: Sequence[KeyframeWindow]) -> Tensor:
        """Mean over the predicted keyframes of sqrt(1 + s) - 1, s the squared error in units of error_scale."""
        errors = [torch.cat(prediction_errors(solution.states, window), 1) / self._scale
                  for solution, window in zip(solutions, batch)]
        return ((1 + torch.cat(errors).square().sum(1)).sqrt() - 1).mean()


class Round:
    """One round of training and validation, on what was known when it began."""

    def __init__(self, learner: CorrectorLearner, stamps, samples, keyframes_ns, poses, truth):
        self._learner, self._data, self._truth = learner, (stamps, samples, keyframes_ns, poses), truth
        self.report: Report | None = None
        self.problem = 'it was interrupted'
        """Why there is no report."""
        self.done = False

    def run(self, pause: Callable[[], None] = lambda: None) -> None:
        """Train and validate. `pause` is called between two steps, to let others have their turn."""
        try:
            self._run(pause)
        finally:
            self.done = True

    def _run(self, pause: Callable[[], None]) -> None:
        learner, config = self._learner, self._learner.config
        train, held_out, begins = learner.windows(*self._data)
        if len(train) < config.batch_size:
            self.problem = f'{len(train)} windows of the {config.batch_size} that a step takes'
            return
        if learner.trainer is None:
            learner.start(train, 1e9 / float(np.median(np.diff(self._data[0]))))
        trainer = learner.trainer
        assert trainer is not None and isinstance(trainer.network, ImuCorrector)      # _use() has made it
        data, generator = KeyframeWindows(train), torch.Generator().manual_seed(config.seed * 9973 + trainer.step)
        trainer.network.train()
        losses = []
        mean = torch.optim.swa_utils.AveragedModel(trainer.network)     # a step's own noise is no candidate
        for k in range(config.steps):
            chosen = torch.randperm(len(data), generator=generator)[:config.batch_size]
            losses.append(trainer.train_step(data[chosen])[0])
            if k >= config.steps // 2:
                mean.update_parameters(trainer.network)
            pause()
        average = mean.module
        assert isinstance(average, ImuCorrector)        # a copy of the network
        learner.calibrate(average, data[torch.randperm(len(data), generator=generator)[:CALIBRATED]])
        trainer.network.bias.data.copy_(average.bias)
        checkpoint = learner.store.offer(average, Metadata(
            metrics={'loss_train': float(np.mean(losses))}, rate=trainer.network.rate, seed=config.seed,
            note='supervised by the pose graph'))
        candidate, current = (learner.losses(one, held_out) for one in (corrector_of(checkpoint), learner.current))
        learner.save()
        learner.rounds += 1
        self.report = Report(
            trainer.step, float(np.mean(losses)), float(candidate.mean()) if len(candidate) else float('nan'),
            float(current.mean()) if len(current) else float('nan'), len(train) + len(held_out), len(held_out),
            judge(candidate, current, margin=config.promote_margin, min_windows=config.min_windows),
            self._relapse(held_out, begins, current), checkpoint.sha256, self._true_errors())

    def _true_errors(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """As in Report, of the held-out windows with true poses for keyframes."""
        stamps_ns, poses = self._truth
        stamps, samples, keyframes_ns, _ = self._data
        if len(stamps_ns) < 2:
            return None
        known = keyframes_ns[(keyframes_ns >= stamps_ns[0]) & (keyframes_ns <= stamps_ns[-1])]
        _, held_out, _ = self._learner.windows(
            stamps, samples, known, Trajectory(stamps_ns, poses).interpolated(known).poses)
        if not held_out:
            return None
        first = corrector_of(self._learner.store.load(self._learner.store.path(1)))
        return self._learner.rmse(first, held_out), self._learner.rmse(self._learner.current, held_out)

    def _relapse(self, held_out: list, begins: list[int], current: NDArray) -> Judgement:
        """Whether the version before would have been better since the promotion."""
        learner, config = self._learner, self._learner.config
        since = [k for k, begin in enumerate(begins) if begin > learner._promoted_ns > 0]
        if len(learner.store.versions) < 2 or len(since) < config.min_windows:
            return Judgement(False, 'too little was seen since the promotion')
        before = corrector_of(learner.store.load(learner.store.path(learner.store.versions[-2])))
        losses = learner.losses(before, [held_out[k] for k in since])
        return judge(losses, current[since], margin=0.0, min_windows=config.min_windows)
