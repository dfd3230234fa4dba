"""Training through solvers: gradients are right, runs repeat, and what is wrong with the data does no harm."""
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from learning_flight import GRAVITY, keyframes, windows

from pypose_core.graph import LevenbergMarquardt
from pypose_core.inertial import ImuNoise
from pypose_core.learning import (
    BilevelTrainer,
    CheckpointError,
    ImuCorrector,
    OdometryUncertainty,
    PreintegrationLevel,
    TrainingConfig,
    TrajectoryLevel,
    consistency,
    held_out_positions,
    negative_log_likelihood,
    robust_negative_log_likelihood,
)
from pypose_core.learning.parallel import processes
from pypose_core.learning.trajectory_level import intervals

NOISE = ImuNoise(1e-3, 1e-2, 1e-4, 1e-3)


def network(*, seed: int = 0) -> ImuCorrector:
    torch.manual_seed(seed)
    corrector = ImuCorrector(channels=3, dilations=(1, 2, 4)).double()
    corrector.calibrate(torch.zeros(6), NOISE)
    return corrector


def scaled(imu):
    """A gyroscope that reads 2 % too much about z."""
    imu = imu.copy()
    imu[:, 2] *= 1.02
    return imu


def gradients(corrector, value) -> torch.Tensor:
    found = torch.autograd.grad(value, list(corrector.parameters()), allow_unused=True)
    return torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten()
                      for p, g in zip(corrector.parameters(), found)])


def differences(corrector, value, places, *, step: float) -> torch.Tensor:
    """Central differences of value() by some of the parameters."""
    vector = torch.nn.utils.parameters_to_vector(corrector.parameters()).detach()
    found = []
    for k in places:
        ends = []
        for sign in (1, -1):
            moved = vector.clone()
            moved[k] += sign * step
            torch.nn.utils.vector_to_parameters(moved, corrector.parameters())
            with torch.no_grad():
                ends.append(float(value()))
        found.append((ends[0] - ends[1]) / (2 * step))
    torch.nn.utils.vector_to_parameters(vector, corrector.parameters())
    return torch.tensor(found, dtype=torch.float64)


def some_of_each(corrector) -> list[int]:
    """The first and last number of every parameter."""
    places, begin = [], 0
    for p in corrector.parameters():
        places += [begin, begin + p.numel() - 1]
        begin += p.numel()
    return places


@pytest.mark.parametrize('gradient', ['implicit', 'truncated'])
def test_gradient_through_imu_factors_graph_and_trajectory_equals_finite_differences(gradient):
    corrector, window = network(), keyframes(disturb=scaled)
    for p in corrector.head.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    level = TrajectoryLevel(GRAVITY, gradient=gradient, steps=3,
                            solver=LevenbergMarquardt(max_iterations=30, tolerance=1e-14))

    def value():
        return held_out_positions(level(corrector, window), window) * 1e3

    found, places = gradients(corrector, value()), some_of_each(corrector)
    wanted = differences(corrector, value, places, step=1e-5)
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(found[places], wanted, rtol=2e-4, atol=2e-5 * float(wanted.abs().max()))


def test_consistency_needs_no_gradient_of_the_trajectory():
    """Of the whole cost, poses included, at the best trajectory: its change contributes nothing."""
    corrector, window = network(), keyframes(disturb=scaled)
    level = TrajectoryLevel(GRAVITY)

    def total():
        solution = level(corrector, window)
        graph = level._layers[window.key].graph
        log_det = torch.linalg.slogdet(solution.information)[1].sum()
        return (graph.cost() - log_det) / (30 * len(window.dt))

    solution = level(corrector, window)
    found, places = gradients(corrector, consistency(solution, window)), some_of_each(corrector)
    wanted = differences(corrector, total, places, step=1e-4)
    torch.testing.assert_close(found[places], wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().max()))


def test_preintegration_likelihood_has_the_gradient_of_finite_differences():
    corrector, some = network(), windows(disturb=scaled)[:6]
    level = PreintegrationLevel(GRAVITY)
    for loss in (negative_log_likelihood, robust_negative_log_likelihood):
        def value(loss=loss):
            return loss(level(corrector, some), some)

        places = some_of_each(corrector)
        wanted = differences(corrector, value, places, step=1e-6)
        torch.testing.assert_close(gradients(corrector, value())[places], wanted, rtol=1e-5,
                                   atol=1e-7 * float(wanted.abs().max()))


def test_intervals_of_one_pass_are_those_of_windows_with_context():
    corrector, window = network(), keyframes()
    whole = intervals(corrector, window)
    k = 3
    rows = window.rows[k]
    before = corrector.receptive_field - 1
    context = window.samples[rows[0] - before:rows[-1] + 1]
    alone = corrector(context).part(slice(before, None)).preintegrate(window.dt[k])
    torch.testing.assert_close(alone.delta_position, whole.delta_position[k])


def test_a_wrong_scale_is_found_with_truth_and_without():
    """2 % about z: the gyroscope's matrix is to become 1 / 1.02 there, and nothing else is to change by much."""
    some = windows(disturb=scaled)
    for level, data, loss in (
            (PreintegrationLevel(GRAVITY), some, negative_log_likelihood),
            (TrajectoryLevel(GRAVITY, pose_sigma=(1e-3, 1e-3)), _Repeated(keyframes(30, disturb=scaled)), consistency)):
        corrector = network()
        before = BilevelTrainer(corrector, level, loss).evaluate(data, batch_size=len(data))
        config = TrainingConfig(epochs=12, batch_size=32, learning_rate=5e-3, warmup=0.0)
        trainer = BilevelTrainer(corrector, level, loss, config)
        trainer.fit(data)
        assert trainer.evaluate(data, batch_size=len(data)) < before - 0.05
        mixing = corrector.mixing.detach()
        assert abs(float(mixing[0, 2, 2]) + 0.0196) < 0.006
        assert mixing[1].abs().max() < 0.03


class _Repeated:
    """One window as four batches an epoch."""

    def __init__(self, window):
        self.window = window

    def __len__(self) -> int:
        return 4 * 32

    def __getitem__(self, index):
        return self.window


class _Edges:
    """Errors (M, 3) of edges whose standard deviation is sigma exp(2 x) for their feature x in [0, 1]."""

    sigma = torch.tensor([0.02, 0.02, 0.01], dtype=torch.float64)

    def __init__(self, count: int, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.rand(count, 1, generator=generator, dtype=torch.float64)
        noise = torch.randn(count, 3, generator=generator, dtype=torch.float64)
        self.error = noise * self.sigma * (2 * self.x).exp()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.error[index]


def test_an_odometry_learns_how_its_noise_grows_with_a_feature():
    torch.manual_seed(0)
    network, edges = OdometryUncertainty(features=1, size=3).double(), _Edges(2000, 1)
    network.calibrate(edges.x, edges.error.std(0))

    def loss(information, batch):
        e = batch[1]
        squared = (e[:, None, :] @ information @ e[..., None])[:, 0, 0]
        return (squared - torch.linalg.slogdet(information)[1]).mean() / 2

    config = TrainingConfig(epochs=8, batch_size=64, learning_rate=1e-2)
    BilevelTrainer(network, lambda net, batch: net(batch[0]), loss, config).fit(edges, validation=_Edges(500, 2))
    x = torch.tensor([[0.1], [0.5], [0.9]], dtype=torch.float64)
    found = torch.linalg.inv(network(x)).diagonal(dim1=1, dim2=2).sqrt().detach()
    # 2000 edges tell a standard deviation to a few per cent where they lie.
    torch.testing.assert_close(found, edges.sigma * (2 * x).exp(), rtol=0.15, atol=0)


def run(tmp_path: Path, *, stop: int | None = None, dtype: torch.dtype = torch.float64,
        **changes) -> tuple[torch.Tensor, list]:
    """Final weights and losses of a short training, stopped and resumed after `stop` epochs."""
    some = windows(disturb=scaled)
    config = TrainingConfig(**{'epochs': 4, 'batch_size': 32, 'seed': 3, **changes})

    def trainer():
        return BilevelTrainer(network().to(dtype), PreintegrationLevel(GRAVITY), negative_log_likelihood, config)

    one = trainer()
    one.fit(some[:80], validation=some[80:], until=stop)
    if stop:
        one.save(tmp_path / 'training.pt')
        one = trainer()
        one.resume(tmp_path / 'training.pt')
        one.fit(some[:80], validation=some[80:])
    return torch.nn.utils.parameters_to_vector(one.network.parameters()).detach(), one.history


def test_a_run_repeats_by_its_seed_and_goes_on_after_a_stop_as_if_there_had_been_none(tmp_path):
    weights, history = run(tmp_path)
    again, _ = run(tmp_path)
    resumed, resumed_history = run(tmp_path, stop=2)
    other, _ = run(tmp_path, seed=4)
    assert torch.equal(weights, again) and torch.equal(weights, resumed) and resumed_history == history
    assert not torch.equal(weights, other)
    (tmp_path / 'training.pt').write_bytes(b'something else')
    with pytest.raises(CheckpointError, match='not a training to resume'):
        trainer = BilevelTrainer(network(), PreintegrationLevel(GRAVITY), negative_log_likelihood)
        trainer.resume(tmp_path / 'training.pt')


def test_mixed_precision_learns_the_same_to_its_rounding(tmp_path):
    single, _ = run(tmp_path, dtype=torch.float32)
    mixed, history = run(tmp_path, dtype=torch.float32, precision='bfloat16')
    start = torch.nn.utils.parameters_to_vector(network().float().parameters()).detach()
    assert not torch.equal(single, mixed)
    assert (single - mixed).norm() < 0.2 * (single - start).norm()
    assert history[-1].loss_validation < history[0].loss_validation


def test_a_batch_without_a_finite_gradient_changes_nothing():
    corrector = network()
    trainer = BilevelTrainer(corrector, lambda net, x: net(x).gyro, lambda gyro, x: gyro.square().mean())
    before = torch.nn.utils.parameters_to_vector(corrector.parameters()).clone()
    _, norm = trainer.train_step(torch.full((1, 9, 6), torch.nan, dtype=torch.float64))
    assert norm != norm and trainer.step == 0
    assert torch.equal(torch.nn.utils.parameters_to_vector(corrector.parameters()), before)


def test_a_gradient_is_clipped_to_its_largest_norm():
    """As one huge window gives it: what goes into the step has the norm that is allowed, and the same direction."""
    found = []
    for clip in (1e9, 0.1):
        corrector = network()
        trainer = BilevelTrainer(corrector, lambda net, x: net(x).gyro, lambda gyro, x: 1e6 * gyro.square().mean(),
                                 TrainingConfig(grad_clip=clip))
        _, norm = trainer.train_step(torch.ones(1, 9, 6, dtype=torch.float64))
        found.append(torch.cat([p.grad.flatten() for p in corrector.parameters()]))
        assert norm == pytest.approx(float(found[0].norm())) and norm > 1e3
    assert float(found[1].norm()) == pytest.approx(0.1, rel=1e-4)
    torch.testing.assert_close(found[1] / 0.1, found[0] / found[0].norm(), rtol=1e-4, atol=1e-9)


def test_the_learning_rate_rises_and_follows_the_schedule():
    config = TrainingConfig(epochs=1, learning_rate=1.0, warmup=0.1)
    rates = [config.rate_at(k, 100) for k in range(100)]
    assert rates[0] < 0.1 and rates[9] < rates[10] == max(rates) and rates == [*rates[:11], *sorted(rates[11:])[::-1]]
    assert rates[-1] < 0.02
    constant = TrainingConfig(schedule='constant', warmup=0.0)
    assert constant.rate_at(0, 10) == constant.rate_at(9, 10) == constant.learning_rate
    for wrong in (dict(schedule='linear'), dict(precision='float8'), dict(epochs=0), dict(warmup=1.0)):
        with pytest.raises(ValueError):
            TrainingConfig(**wrong)


def test_a_training_that_only_makes_it_worse_ends_where_it_began():
    """Trained on one scale, checked on the opposite one: every step makes it worse."""
    def opposite(imu):
        imu = imu.copy()
        imu[:, 2] /= 1.05
        return imu

    corrector = network()
    for name, p in corrector.named_parameters():
        p.requires_grad_(name == 'mixing')
    config = TrainingConfig(epochs=5, batch_size=64, learning_rate=5e-3)
    trainer = BilevelTrainer(corrector, PreintegrationLevel(GRAVITY), negative_log_likelihood, config)
    start = trainer.evaluate(windows(disturb=opposite))
    history = trainer.fit(windows(disturb=scaled), validation=windows(disturb=opposite))
    assert min(one.loss_validation for one in history) > start
    assert trainer.evaluate(windows(disturb=opposite)) == pytest.approx(start, abs=1e-12)


PROCESS = '''
import sys
sys.path.insert(0, {folder!r})
import torch
from test_learning_trainer import train_in_processes
torch.set_num_threads(1)
torch.save(train_in_processes(), sys.argv[1])
'''


def train_in_processes() -> dict:
    with processes() as (_, world):
        trainer = BilevelTrainer(network(), PreintegrationLevel(GRAVITY), negative_log_likelihood,
                                 TrainingConfig(epochs=2, batch_size=33, seed=3))
        trainer.fit(windows(disturb=scaled)[:80])
        weights = torch.nn.utils.parameters_to_vector(trainer.network.parameters()).detach()
        return {'world': world, 'weights': weights, 'losses': [one.loss_train for one in trainer.history]}


def test_two_processes_take_the_steps_of_one(tmp_path, monkeypatch):
    """As torchrun starts them, but that this process is one of them: 80 windows in batches of 33 divide unevenly."""
    alone = train_in_processes()
    script = tmp_path / 'train.py'
    script.write_text(PROCESS.format(folder=str(Path(__file__).parent)))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    for name, value in {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'WORLD_SIZE': 2, 'RANK': 0}.items():
        monkeypatch.setenv(name, str(value))
    other = subprocess.Popen([sys.executable, str(script), str(tmp_path / 'out')],
                             env={**os.environ, 'RANK': '1', 'OMP_NUM_THREADS': '1'})
    first = train_in_processes()
    assert other.wait(timeout=60) == 0
    second = torch.load(tmp_path / 'out')
    assert alone['world'] == 1 and first['world'] == second['world'] == 2
    assert torch.equal(first['weights'], second['weights'])
    torch.testing.assert_close(first['weights'], alone['weights'], rtol=0, atol=1e-9)
    assert first['losses'] == second['losses'] == pytest.approx(alone['losses'], rel=1e-9)
