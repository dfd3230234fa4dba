"""Trains the front-ends of pose-graph edges on drives of the simulated robot, and writes weights and a model card.

    python -m pypose_ros.train.edges --out config/weights

OdometryUncertainty: links of the wheels between keyframes, by their likelihood under the true motion. LoopVerifier:
what ICP makes of pairs of scans, with all limits wide open, by whether it is right. Drives are told apart by their
seed: some are learned from, one decides which epoch is kept, and those that the numbers are of do neither.
"""
import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pypose_core.learning import BilevelTrainer, LoopVerifier, Metadata, OdometryUncertainty, TrainingConfig
from pypose_core.learning.checkpoint import save_checkpoint
from pypose_core.online.back_end.odometry import compose, link
from pypose_core.online.correction import inverse
from pypose_core.online.edge_models import PLANE, odometry_features
from pypose_core.online.loop_detector import LoopDetector, LoopDetectorConfig
from pypose_ros.sim.command import SelfDriver, robot, world
from pypose_ros.sim.node import planar
from pypose_ros.sim.simulator import Simulator

TRAIN, VALIDATION, HELD_OUT = (1, 2, 3), (4,), (5, 6)
SLIP = 0.03
STEP = 0.02             # s; no sensor of these drives is faster
LINK = 0.5              # m between keyframes
RIGHT = (0.15, 0.05)    # m, rad by which a true loop may be off
WIDE = LoopDetectorConfig(distance=1.5, search_radius=6.0, min_way=4.0, max_candidates=2, descriptor_limit=0.9,
                          min_overlap=0.0, max_rmse=10.0)


@dataclass(frozen=True)
class Edges:
    """N examples of one kind: features and what is to be told."""

    features: Tensor
    target: Tensor
    stated: Tensor
    """What there was without the network: information (N, 3, 3), or whether the limits accept (N,)."""

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: Tensor) -> 'Edges':
        return Edges(self.features[index], self.target[index], self.stated[index])

    @staticmethod
    def joined(parts: Sequence['Edges']) -> 'Edges':
        return Edges(*(torch.cat([getattr(part, name) for part in parts]) for name in ('features', 'target', 'stated')))


def driven(seed: int, laps: float):
    """The robot and what it measures, step by step, until its way ends; slow and fast drives by the seed."""
    course = world('empty', seed, laps=laps, boxes=0)
    simulator = Simulator(course.walls, robot(seed, slip=SLIP))
    speed = (0.5, 0.8, 1.1)[seed % 3]
    driver = SelfDriver(course.path, speed=speed)
    for _ in range(round(0.1 * len(course.path) / speed / STEP)):
        yield simulator, simulator.step(STEP, driver(simulator))


def odometry_links(seed: int, laps: float = 1.5) -> Edges:
    """Links of the wheels, and the error of each in its far end's axes."""
    features, errors, stated = [], [], []
    at, covariance = None, np.zeros((6, 6))
    for simulator, measured in driven(seed, laps):
        if measured.odometry is None:
            continue
        turned = np.kron(np.eye(2), _rotation(measured.odometry[2]))
        covariance = covariance + turned @ measured.covariance @ turned.T
        now = measured.stamp_ns, planar(measured.odometry), simulator.truth, covariance
        if at is None:
            at = now
            continue
        step = compose(inverse(at[1]), now[1])
        if np.linalg.norm(step[:3]) < LINK:
            continue
        _, information = link(at[1], now[1], at[3], now[3], (0.01, 0.005), (0.02, 0.02))
        wrong = compose(inverse(step), compose(inverse(at[2]), now[2]))
        features.append(odometry_features(step, (now[0] - at[0]) * 1e-9))
        errors.append([*wrong[:2], 2 * np.arctan2(wrong[5], wrong[6])])
        stated.append(information[np.ix_(PLANE, PLANE)])
        at = now
    return Edges(*(torch.from_numpy(np.array(x)) for x in (features, errors, stated)))


def loop_candidates(seed: int, laps: float = 1.15) -> Edges:
    """Pairs of scans, whether ICP laid them over each other rightly, and whether the usual limits accept them."""
    detector, usual = LoopDetector(WIDE), LoopDetectorConfig()
    truth: dict[int, np.ndarray] = {}
    features, right, accepted = [], [], []
    odometry = planar(np.zeros(3))
    for simulator, measured in driven(seed, laps):
        if measured.odometry is not None:
            odometry = planar(measured.odometry)
        if measured.scan is None:
            continue
        truth[measured.stamp_ns] = simulator.truth
        points = simulator.lidar.points(measured.scan)
        for found in detector.add(measured.stamp_ns, odometry, np.c_[points, np.zeros(len(points))], planar=True):
            true = compose(inverse(truth[found.earlier.stamp_ns]), truth[found.later.stamp_ns])
            off = compose(inverse(true), found.T_earlier_later)
            told = np.asarray(found.features)
            features.append(told)
            right.append(np.linalg.norm(off[:3]) < RIGHT[0] and 2 * np.linalg.norm(off[3:6]) < RIGHT[1])
            accepted.append(told[0] >= usual.min_overlap and told[5] == 0
                            and np.exp(told[1]) - 1e-3 <= usual.max_rmse and not found.reason)
    labels = (torch.tensor(x, dtype=torch.float64) for x in (right, accepted))
    return Edges(torch.from_numpy(np.array(features)), *labels)


def _rotation(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def likelihood(information: Tensor, edges: Edges) -> Tensor:
    """Mean of (e' Omega e - log det Omega) / 6."""
    s = (edges.target[:, None] @ information @ edges.target[..., None])[:, 0, 0]
    return (s - torch.linalg.slogdet(information)[1]).mean() / 6


def entropy(weight: Tensor, edges: Edges) -> Tensor:
    """Cross entropy of labels."""
    return torch.nn.functional.binary_cross_entropy(weight.clamp(1e-6, 1 - 1e-6), edges.target)


def fitted(network, loss: Callable[[Tensor, Edges], Tensor], train: Edges, validation: Edges):
    """The network at the epoch that was best on the validation drive."""
    trainer = BilevelTrainer(network, lambda model, edges: model(edges.features), loss, TrainingConfig(
        epochs=60, batch_size=64, learning_rate=5e-3, weight_decay=1e-2))
    trainer.fit(train, validation=validation)
    return network.eval()


@torch.no_grad()
def odometry_numbers(network: OdometryUncertainty, edges: Edges) -> dict[str, float]:
    def nees(information: Tensor) -> float:
        return float((edges.target[:, None] @ information @ edges.target[..., None]).mean())

    sigma = edges.target.square().mean(0)
    learned = network(edges.features)
    best_constant = torch.diag(1 / sigma).expand(len(edges), 3, 3)
    return {'links': len(edges), 'nees_of_3_learned': nees(learned), 'nees_of_3_stated': nees(edges.stated),
            'nll_learned': float(likelihood(learned, edges)), 'nll_stated': float(likelihood(edges.stated, edges)),
            'nll_best_constant': float(likelihood(best_constant, edges))}


@torch.no_grad()
def loop_numbers(network: LoopVerifier, edges: Edges) -> dict[str, float]:
    weight, true = network(edges.features), edges.target > 0.5

    def curve(score: Tensor) -> float:
        """Area under the curve of true against false positives: how often a true one scores above a false one."""
        gap = score[true][:, None] - score[~true][None]
        return float(((gap > 0).double() + (gap == 0).double() / 2).mean())

    taken, usual = weight > 0.5, edges.stated > 0.5
    return {'candidates': len(edges), 'true': int(true.sum()), 'auc_learned': curve(weight),
            'auc_overlap': curve(edges.features[:, 0]),
            'false_accepted_learned': int((taken & ~true).sum()), 'true_accepted_learned': int((taken & true).sum()),
            'false_accepted_limits': int((usual & ~true).sum()), 'true_accepted_limits': int((usual & true).sum())}


def train_odometry() -> tuple[OdometryUncertainty, dict[str, float]]:
    train, validation, held_out = (Edges.joined([odometry_links(seed) for seed in seeds])
                                   for seeds in (TRAIN, VALIDATION, HELD_OUT))
    torch.manual_seed(0)
    network = OdometryUncertainty(features=5, size=3).double()
    network.calibrate(train.features, train.target.square().mean(0).sqrt())
    return fitted(network, likelihood, train, validation), odometry_numbers(network, held_out)


def train_loops() -> tuple[LoopVerifier, dict[str, float]]:
    train, validation, held_out = (Edges.joined([loop_candidates(seed) for seed in seeds])
                                   for seeds in (TRAIN, VALIDATION, HELD_OUT))
    torch.manual_seed(0)
    network = LoopVerifier(features=6, prior=float(train.target.mean())).double()
    network.calibrate(train.features)
    return fitted(network, entropy, train, validation), loop_numbers(network, held_out)


def write(folder: Path, network, numbers: dict[str, float], what: str) -> None:
    """Weights and model card."""
    drives = {purpose: tuple(f'simulated offices, seed {seed}' for seed in seeds)
              for purpose, seeds in (('train', TRAIN + VALIDATION), ('held_out', HELD_OUT))}
    name = f'{network.kind}_sim'
    sha256 = save_checkpoint(folder / f'{name}.pt', network, Metadata(
        training_data=drives['train'], held_out_data=drives['held_out'], metrics=numbers, seed=0, note=what))
    lines = [f'# {network.kind}', '', what, '', f'* SHA-256 `{sha256}`; remade by `python -m pypose_ros.train.edges`',
             f'* Trained on drives of the simulated robot with seeds {", ".join(map(str, TRAIN))}; seed '
             f'{", ".join(map(str, VALIDATION))} decided the epoch; the numbers are of seeds '
             f'{", ".join(map(str, HELD_OUT))}, which did neither', '', '| held out | |', '| --- | --- |',
             *(f'| {key} | {value:.4g} |' for key, value in numbers.items())]
    (folder / f'{name}.md').write_text('\n'.join(lines) + '\n')
    print('\n'.join(lines[-len(numbers):]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('results') / 'train-edges')
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    write(options.out, *train_odometry(), 'How far a link of wheel odometry of about half a metre can be trusted, in '
          'the plane: x, y, heading.')
    write(options.out, *train_loops(), 'Whether ICP has laid two scans of a planar lidar over each other rightly.')


if __name__ == '__main__':
    main()
