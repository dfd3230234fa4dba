"""Bags and EuRoC folders as recordings to learn from."""
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from pypose_core.learning import KnownStates, Recording
from pypose_core.metric import Trajectory
from pypose_ros.bag.errors import BagError
from pypose_ros.bag.euroc import read_euroc
from pypose_ros.bag.replay_input import ReplayInput, ReplayOptions, read_input

from .config import TrainFile


def read_recording(path: Path, file: TrainFile, *, imu_topic: str | None = None,
                   ground_truth: str | None = None) -> tuple[Recording, Tensor | None]:
    """A recording with its parts, and the dataset's own biases (6,) over the parts that may be looked at.

    Raises:
        BagError: it has no IMU or no ground truth, or cannot be read.
    """
    if path.is_dir() and any((path / name).is_file() for name in ('imu0.csv', 'mav0/imu0/data.csv')):
        name = path.resolve().name
        stamps, imu, states, bias = _euroc(path)
    else:
        name = path.resolve().name.removesuffix(path.suffix)
        stamps, imu, states, bias = _bag(read_input(path, ReplayOptions(
            imu_topic=imu_topic, pose_topic='none', odometry_topic='none', ground_truth=ground_truth)))
    seconds = (states.stamps_ns[-1] - states.stamps_ns[0]) * 1e-9
    spans = file.spans_of(name, seconds)
    known = None
    if bias is not None:
        at = (bias[0] - states.stamps_ns[0]) * 1e-9
        seen = [(at >= a) & (at <= b) for purpose, (a, b) in spans.items() if purpose != 'held_out']
        chosen = np.any(seen, axis=0) if seen else np.zeros(len(at), bool)
        known = torch.from_numpy(bias[1][chosen].mean(0)) if chosen.any() else None
    return Recording(name, stamps, imu, states, **spans), known


def _euroc(path: Path):
    sequence = read_euroc(path)
    if len(sequence.states):
        states = KnownStates(sequence.state_stamps_ns, sequence.states)
        return sequence.imu_stamps_ns, sequence.imu, states, (sequence.state_stamps_ns, sequence.states[:, 10:])
    if sequence.poses is None:
        raise BagError(f'{path}: no ground truth in it to learn from')
    return sequence.imu_stamps_ns, sequence.imu, KnownStates.from_poses(sequence.poses), None


def _bag(source: ReplayInput):
    truth = source.truth
    if truth is None:
        raise BagError(f'{source.bag}: no ground truth in it to learn from; name a topic or a TUM file with '
                       '--ground-truth')
    t, q = source.T_base_imu[:3], Rotation.from_quat(source.T_base_imu[3:])
    rotations = truth.trajectory.rotations
    poses = np.hstack([truth.trajectory.positions + rotations.apply(t), (rotations * q).as_quat()])
    if truth.velocity is not None and not t.any():
        states = KnownStates(truth.trajectory.stamps_ns,
                             np.hstack([poses, truth.velocity, np.zeros((len(poses), 6))]))
    else:
        states = KnownStates.from_poses(Trajectory(truth.trajectory.stamps_ns, poses))
    bias = None if truth.bias is None else (truth.bias_stamps_ns, truth.bias)
    return source.imu.stamps_ns, source.imu.samples, states, bias
