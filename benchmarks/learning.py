"""Front-ends trained through the solvers: what learning gains on unseen data, and what a step of it costs.

EuRoC: an IMU corrector trained here and now (config/train/euroc.yaml, SEEDS) on MH_01 and the first 75 s of V1_01, on
the rest of V1_01, and how much of the error there is the reference's. KITTI IMU+GPS: noise learned on the first half
of the drive (examples/learn_imu_noise.py), on the second half, beside GTSAM with the stated noise. Times are CPU
seconds of one thread. Where a record is about quality, "ours" and "peer" are the times that learning it (with
--quick: reading the weights) and solving took, no ratio is asked for, and agreement means that what the note states
holds.

Needs the recordings: $PYPOSE_DATA, or shared/data beside the checkout.
"""
import os
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from harness import Record, main
from scipy.spatial.transform import Rotation

from pypose_core.inertial import ImuNoise
from pypose_core.learning import (
    BilevelTrainer,
    ImuCorrector,
    ImuWindows,
    KeyframeWindow,
    KnownStates,
    Recording,
    Score,
    TrajectoryLevel,
    consistency,
    fixed_corrector,
    held_out_positions,
    load_checkpoint,
    train_imu_corrector,
)
from pypose_core.learning.imu_training import ImuTrainingConfig, calibration, held_out_windows
from pypose_ros.train.config import read_train_file
from pypose_ros.train.recordings import read_recording

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get('PYPOSE_DATA', ROOT.parent / 'shared' / 'data'))
GRAVITY = torch.tensor([0.0, 0.0, -9.81], dtype=torch.float64)
TUNED = ImuNoise(1e-3, 2e-2, 1e-5, 2e-3)        # of config/euroc.yaml
SEEDS = 0, 1, 2
STEP_S = 0.05       # asked for a step over 50 keyframes


def cpu(call: Callable[[], object]) -> tuple[object, float]:
    start = time.process_time()
    return call(), time.process_time() - start


def euroc(quick: bool) -> Iterator[Record]:
    """Trained anew; `quick` takes the weights of the repository."""
    file = read_train_file(ROOT / 'config' / 'train' / 'euroc.yaml', 'imu_corrector')
    found = [read_recording(DATA / 'euroc' / name, file) for name in ('MH_01_easy', 'V1_01_easy')]
    recordings, known = [one for one, _ in found], found[1][1]
    trained: list[tuple[ImuCorrector, float]] = []
    for seed in SEEDS[:1] if quick else SEEDS:
        if quick:
            corrector, taken = cpu(
                lambda: load_checkpoint(ROOT / 'config' / 'weights' / 'imu_corrector_euroc.pt').front_end)
        else:
            config = read_train_file(ROOT / 'config' / 'train' / 'euroc.yaml', 'imu_corrector', seed=seed).training
            corrector, taken = cpu(lambda config=config: train_imu_corrector(recordings, config).corrector)
        trained.append((corrector, taken))
    reference = trained[0][0].bias.detach().double()
    level = file.training.level
    for seconds in file.training.windows:
        windows = held_out_windows(recordings, trained[0][0], file.training, seconds)
        lines = {'biases calibrated on the training part, data sheet': (reference, file.training.noise),
                 "the dataset's own biases, data sheet": (known, file.training.noise),
                 'calibrated biases, noise of config/euroc.yaml': (reference, TUNED)}
        scores = [Score.of(name, seconds, level(fixed_corrector(*line), windows)) for name, line in lines.items()]
        with torch.no_grad():
            mine = [Score.of(f'learned, seed {seed}', seconds, level(corrector, windows))
                    for seed, (corrector, _) in zip(SEEDS, trained)]
        text = '; '.join(f'{one.front_end}: {one.rotation_deg:.4f} deg, {one.velocity_m_s:.4f} m/s, '
                         f'{one.position_m:.4f} m, NEES {one.nees:.1f} of 9' for one in (*mine, *scores))
        better = all(one.position_m < min(x.position_m for x in scores)
                     and abs(one.nees - 9) < min(abs(x.nees - 9) for x in scores[:-1]) for one in mine)
        yield Record(f'EuRoC V1_01 after 75 s, {len(windows)} windows of {seconds:g} s', scores[0].front_end,
                     median(taken for _, taken in trained), None, None, better, None,
                     'position better than each of the others and NEES than those with the data '
                     f"sheet's noise (config/euroc.yaml's was tuned on all of both flights); {text}")
    yield wander(recordings[1], windows, file.training)


def wander(recording: Recording, windows: ImuWindows, config: ImuTrainingConfig) -> Record:
    """How much of the error over the longest windows is the reference's attitude: against the integrated gyroscope,
    but for a constant and a drift within 8 s before and after, it wanders, and gravity with it."""
    def compute() -> tuple[float, float, float]:
        found = calibration(recording, config)
        states, stamps = found.apply(recording.states), recording.stamps_ns
        first, last = np.searchsorted(stamps, states.stamps_ns[[0, -1]])
        rate = recording.imu[first:last, :3] - found.bias[:3].numpy()
        steps = Rotation.from_rotvec((rate[1:] + rate[:-1]) / 2 * (np.diff(stamps[first:last]) * 1e-9)[:, None])
        every, half = 10, 160
        ends = np.arange(0, len(rate) - 1 - every, every)
        blocks = steps[ends]
        for k in range(1, every):
            blocks = blocks * steps[ends + k]
        chain = [Rotation.identity()]
        for block in blocks:
            chain.append(chain[-1] * block)
        at = stamps[first:last][np.arange(len(chain)) * every]
        gap = Rotation.from_quat(states.at(at)[:, 3:7]) * Rotation.concatenate(chain).inv()
        off = np.zeros((len(at), 3))
        for k in range(len(at)):
            near = slice(max(0, k - half), k + half + 1)
            middle = gap[near].mean()
            x = np.arange(len(at))[near] - k
            left = (gap[near] * middle.inv()).as_rotvec()
            constant = np.linalg.lstsq(np.c_[np.ones(len(x)), x], left, rcond=None)[0][0]
            off[k] = (gap[k] * (Rotation.from_rotvec(constant) * middle).inv()).as_rotvec()
        mine = np.stack([np.interp(windows.stamps_ns.numpy(), at, column) for column in off.T], 1)
        start = windows.start.clone()
        start[:, 3:7] = torch.from_numpy(
            (Rotation.from_rotvec(-mine) * Rotation.from_quat(start[:, 3:7].numpy())).as_quat())
        steady = ImuWindows(windows.samples, windows.dt, start, windows.end, windows.stamps_ns)
        fixed = fixed_corrector(found.bias, config.noise)
        given, put_right = (config.level(fixed, one).rmse()['position_m'] for one in (windows, steady))
        return float(np.degrees(np.sqrt(np.square(mine).sum(1).mean()))), given, put_right

    (angle, given, put_right), taken = cpu(compute)
    return Record(f"EuRoC V1_01 after 75 s, the reference's attitude at the start of {windows.seconds:g} s", 'none',
                  taken, None, None, put_right < given, None,
                  f'it wanders by {angle:.2f} deg about the integrated gyroscope; with that taken out the position '
                  f'error of raw samples with calibrated biases is {put_right:.4f} m instead of {given:.4f} m')


def kitti() -> Record:
    from peers.gtsam_inertial import VERSION, smooth

    sys.path.insert(0, str(ROOT / 'examples'))
    learn = runpy.run_path(str(ROOT / 'examples' / 'learn_imu_noise.py'))
    drive = runpy.run_path(str(ROOT / 'examples' / 'kitti_imu_gps.py'))
    fixes, samples, noise = drive['load'](DATA / 'kitti_imu_gps')
    first, second = learn['halves'](fixes, samples, noise)
    log_scale, taken = cpu(lambda: learn['learn'](first, report=lambda line: None))
    judge = learn['solve'](second)
    before, after = (judge(x).item() ** 0.5 for x in (torch.zeros(5), log_scale))
    guess = drive['first_guess'](second[0]).numpy()
    theirs, peer_s = cpu(lambda: smooth(
        guess, second[1].numpy(), second[0][:, 1:].numpy(), torch.arange(0, len(second[0]), drive['EVERY']).numpy(),
        densities=(noise.gyroscope_noise_density, noise.accelerometer_noise_density, noise.gyroscope_random_walk,
                   noise.accelerometer_random_walk),
        gps_sigma=drive['GPS_SIGMA'], bias_sigma=drive['BIAS_SIGMA'], gravity=9.81))
    away = torch.arange(len(second[0])) % drive['EVERY'] != 0
    error = torch.from_numpy(theirs.position)[away, :2] - second[0][away, 1:3]
    gtsam_rmse = error.square().sum(1).mean().item() ** 0.5
    scales = ', '.join(f'{x:.2f}' for x in log_scale.exp())
    return Record('KITTI IMU+GPS, second half, noise learned on the first', f'{VERSION}, stated noise', taken, peer_s,
                  None, after < min(before, gtsam_rmse), None,
                  f'held-out RMSE in the plane: learned {after:.4f} m, stated {before:.4f} m, GTSAM '
                  f'{gtsam_rmse:.4f} m; factors on gyroscope, accelerometer, their walks and the GPS sigma: {scales}')


def steps(quick: bool) -> Iterator[Record]:
    """50 keyframes at 10 Hz of V1_01, every second pose held out."""
    file = read_train_file(ROOT / 'config' / 'train' / 'euroc.yaml', 'imu_corrector')
    recording, _ = read_recording(DATA / 'euroc' / 'V1_01_easy', file)
    window = keyframes(recording.states, recording.stamps_ns, recording.imu)
    for loss, name in ((consistency, 'consistency, no truth'), (held_out_positions, 'held-out poses, implicit')):
        torch.manual_seed(0)
        corrector = ImuCorrector()
        corrector.calibrate(torch.tensor([-0.0022, 0.0212, 0.0765, -0.02, 0.14, 0.08]), TUNED)
        corrector.scale_inputs(window.samples)
        trainer = BilevelTrainer(corrector, TrajectoryLevel(GRAVITY), loss)
        trainer.train_step(window)
        taken = median(cpu(lambda trainer=trainer: trainer.train_step(window))[1] for _ in range(7 if quick else 31))
        yield Record(f'one training step, 50 keyframes, 980 intervals: {name}', 'none', taken, None, None,
                     taken <= STEP_S, None, f'at most {1e3 * STEP_S:g} ms asked; forward, solve, backward, AdamW')


def keyframes(states: KnownStates, stamps_ns, imu, *, count: int = 50, interval: int = 20) -> KeyframeWindow:
    first, context = 4000, ImuCorrector().receptive_field - 1
    end = first + (count - 1) * interval
    known = torch.from_numpy(states.at(stamps_ns[first:end + 1:interval]))
    rows = context + interval * torch.arange(count - 1)[:, None] + torch.arange(interval + 1)
    dt = torch.full((count - 1, interval), 0.005, dtype=torch.float64)
    return KeyframeWindow(torch.from_numpy(imu[first - context:end + 1]), rows, dt, known, known[:, :7].clone(),
                          torch.arange(count) % 2 == 0)


def stream() -> Record:
    torch.manual_seed(0)
    corrector = ImuCorrector()
    for p in corrector.parameters():        # as after some training: untrained, it does nothing
        p.data += 0.1 * torch.randn(p.shape)
    samples = torch.randn(2000, 6, dtype=torch.float64)
    made = corrector.stream()
    corrected, _ = made.run(samples.numpy())
    with torch.no_grad():
        whole = corrector(samples)
    error = abs(corrected - torch.cat([whole.gyro, whole.accel], -1).numpy()).max()
    taken = min(cpu(lambda: [made.step(sample) for sample in samples.numpy()])[1] for _ in range(5)) / len(samples)
    return Record('one IMU sample through the corrector, streaming', 'none', taken, None, None, bool(error < 1e-5),
                  None, f'differs from the network over the whole window by {error:.1e} at most (single precision)')


def records(quick: bool) -> Iterator[Record]:
    if not DATA.is_dir():
        sys.exit(f'no recordings: {DATA} is absent (set PYPOSE_DATA)')
    yield stream()
    yield from steps(quick)
    yield kitti()
    yield from euroc(quick)


if __name__ == '__main__':
    main(records, __doc__)
