"""Inertial factors in the back-end: what they hold that odometry lets go, their consistency, gaps, and a moved map."""
import numpy as np
import pytest
import torch

from pypose_core.lie import se3, so3
from pypose_core.metric import nees
from pypose_core.online.back_end import BackEndConfig, EdgeInput, ImuSource, PoseGraphBackEnd
from pypose_core.online.correction import compose, inverse, rotation_matrix
from pypose_ros.bag.synthetic import MEMS, FlightConfig, fly

FLIGHT = fly(FlightConfig(duration=25.0, seed=1))
T_BASE_IMU = np.array([0.3, -0.1, 0.2, 0.0, np.sin(0.2), 0.0, np.cos(0.2)])
SOURCE = ImuSource(MEMS, T_BASE_IMU, gravity=9.80665)
EVERY = 10                                      # samples of the IMU for one message of odometry
SIGMA = (0.01, 0.01)                            # m, rad of one link of odometry
CONFIG = BackEndConfig(keyframe_distance=1e3, keyframe_angle=3.0, keyframe_time=0.5, odometry_sigma=SIGMA,
                       odometry_drift=(0.0, 0.0), robust='none', max_iterations=30)
TRUTH = se3.mul(torch.from_numpy(FLIGHT.truth.poses), se3.inv(torch.from_numpy(T_BASE_IMU))).numpy()


def drifting(seed: int, scale: float = 1.0) -> np.ndarray:
    """(M, 7) odometry of the base every EVERY samples, with the noise that CONFIG states for half a second."""
    poses = torch.from_numpy(TRUTH[::EVERY])
    steps = se3.mul(se3.inv(poses[:-1]), poses[1:])
    generator = torch.Generator().manual_seed(seed)
    per_step = torch.tensor(np.repeat(SIGMA, 3)) / np.sqrt(0.5 / (EVERY * 0.005))
    steps = se3.mul(steps, se3.exp(torch.randn(len(steps), 6, dtype=torch.float64, generator=generator) * per_step))
    steps[:, :3] *= scale
    way = [poses[0]]
    for step in steps:
        way.append(se3.mul(way[-1], step))
        way[-1][3:] /= way[-1][3:].norm()
    return torch.stack(way).numpy()


def run(odometry, *, imu: bool, skip=range(0), config=CONFIG, finish: bool = True) -> PoseGraphBackEnd:
    back_end = PoseGraphBackEnd(config)
    # In flight from the first sample on: what the estimator of the IMU would say of the biases.
    for k, stamp in enumerate(FLIGHT.stamps_ns.tolist()):
        if imu and k not in skip:
            back_end.add_imu(stamp, FLIGHT.imu[k], np.zeros(6), SOURCE)
        if k % EVERY == 0:
            back_end.add_odometry(stamp, odometry[k // EVERY])
    if finish:
        assert back_end.solve().solution is not None, back_end.last_job.problem
    return back_end


def tilt(back_end) -> np.ndarray:
    """(N,) rad between the vertical of the estimate and the true one."""
    rows = np.searchsorted(FLIGHT.stamps_ns, back_end.keyframes['stamp_ns'])
    up = [[rotation_matrix(q)[2] for q in poses[:, 3:]] for poses in (back_end.keyframes['pose'], TRUTH[rows])]
    return np.arccos(np.clip((np.array(up[0]) * up[1]).sum(1), -1, 1))


def scale_error(back_end, ahead: int = 4) -> float:
    """Of the distances between keyframes two seconds apart."""
    rows = np.searchsorted(FLIGHT.stamps_ns, back_end.keyframes['stamp_ns'])
    found, true = (np.linalg.norm(p[ahead:, :3] - p[:-ahead, :3], axis=1)
                   for p in (back_end.keyframes['pose'], TRUTH[rows]))
    return abs(float(found @ true / (true @ true)) - 1)


def test_gravity_and_acceleration_hold_roll_pitch_and_scale_that_odometry_lets_go():
    odometry = drifting(seed=3, scale=1.02)
    without, with_imu = run(odometry, imu=False), run(odometry, imu=True)
    assert with_imu.inertial.links['known'][1:].all()
    assert np.sqrt((tilt(with_imu) ** 2).mean()) < 0.1 * np.sqrt((tilt(without) ** 2).mean())
    assert scale_error(without) > 0.017 and scale_error(with_imu) < 0.6 * scale_error(without)
    # Biases come out too.
    np.testing.assert_allclose(with_imu.inertial.links['bias'][-1], FLIGHT.bias[-1], atol=0.05)


def test_the_pose_with_inertial_factors_is_as_uncertain_as_it_is_wrong():
    errors, covariances = [], []
    for seed in range(8):
        back_end = run(drifting(seed), imu=True)
        at = TRUTH[np.searchsorted(FLIGHT.stamps_ns, back_end.keyframes['stamp_ns'][-1])]
        pose = back_end.keyframes['pose'][-1]
        turn = so3.log(torch.from_numpy(compose(at, inverse(pose)))[3:]).numpy()
        errors.append(np.concatenate([at[:3] - pose[:3], turn]))
        covariances.append(back_end.covariance)
    found = nees(np.array(errors), np.array(covariances), independent=8, confidence=0.99)
    assert found.band[0] < found.mean < found.band[1]


def test_across_a_gap_of_the_imu_there_is_no_factor_and_the_rest_is_used():
    odometry = drifting(seed=3)
    back_end = run(odometry, imu=True, skip=range(3000, 3300))          # 1.5 s
    known, stamps = back_end.inertial.links['known'], back_end.keyframes['stamp_ns']
    lost = (stamps > FLIGHT.stamps_ns[3000]) & (stamps <= FLIGHT.stamps_ns[3300])
    assert not known[lost].any() and known[1:][~lost[1:]].all() and lost.sum() == 3
    assert np.sqrt((tilt(back_end) ** 2).mean()) < 0.03


def test_samples_that_come_after_the_odometry_they_belong_to_make_the_same_factors():
    odometry = drifting(seed=3)
    early, late = run(odometry, imu=True, finish=False), PoseGraphBackEnd(CONFIG)
    late.add_imu(int(FLIGHT.stamps_ns[0]), FLIGHT.imu[0], np.zeros(6), SOURCE)
    for k in range(0, len(FLIGHT.stamps_ns), EVERY):
        late.add_odometry(int(FLIGHT.stamps_ns[k]), odometry[k // EVERY])
        for i in range(max(1, k - 5), min(k + 5, len(FLIGHT.stamps_ns))):
            late.add_imu(int(FLIGHT.stamps_ns[i]), FLIGHT.imu[i], np.zeros(6), SOURCE)
    rows = [back_end.inertial.links['row'][1:-1] for back_end in (late, early)]
    np.testing.assert_allclose(*rows, rtol=1e-6, atol=1e-9)


def test_a_solve_goes_on_while_keyframes_come_and_loops_and_poses_move_the_map_with_its_velocities():
    odometry = drifting(seed=3)
    back_end = run(odometry, imu=True, finish=False)
    stamps = FLIGHT.stamps_ns
    elsewhere = np.array([100.0, -50.0, 3.0, 0.0, 0.0, np.sin(1.0), np.cos(1.0)])
    for k in (1000, 2500, 4000):
        back_end.add_pose(int(stamps[k]), compose(elsewhere, TRUTH[k]), np.eye(6) * 1e-4)
    i, j = 10, 40
    rows = np.searchsorted(stamps, back_end.keyframes['stamp_ns'][[i, j]])
    back_end.add_edge(EdgeInput(compose(inverse(TRUTH[rows[0]]), TRUTH[rows[1]]), np.eye(6) * 1e4, from_id=i, to_id=j))
    job = back_end.begin_solve()
    job.run()
    assert back_end.poll() and back_end.last_job.solution is not None, back_end.last_job.problem
    rows = np.searchsorted(stamps, back_end.keyframes['stamp_ns'])
    want = np.array([compose(elsewhere, TRUTH[row]) for row in rows])
    assert np.linalg.norm(back_end.keyframes['pose'][:, :3] - want[:, :3], axis=1).max() < 0.5
    R = rotation_matrix(elsewhere[3:])
    error = back_end.inertial.links['velocity'] - FLIGHT.truth.velocity[rows] @ R.T
    assert np.sqrt((error ** 2).mean()) < 0.2


def test_keyframes_a_sample_apart_have_factors_that_can_be_solved_with():
    back_end = PoseGraphBackEnd(BackEndConfig(keyframe_distance=0.0, robust='none'))
    for k in range(400, 430):
        stamp = int(FLIGHT.stamps_ns[k])
        back_end.add_imu(stamp, FLIGHT.imu[k], np.zeros(6), SOURCE)
        back_end.add_odometry(stamp, TRUTH[k])
    assert back_end.inertial.links['known'].sum() == 29 and back_end.solve().solution is not None


def test_pairwise_consistency_and_inertial_factors_are_refused_together():
    with pytest.raises(ValueError, match='pcm'):
        PoseGraphBackEnd(BackEndConfig(robust='pcm')).add_imu(1, np.zeros(6), np.zeros(6), SOURCE)


@pytest.mark.parametrize('late', [0, 20])
def test_positions_later_than_odometry_are_met_where_that_runs_away_and_leaps_back(late):
    """Odometry errs by 4 m/s and is set right every two seconds, as a position does it to a dead reckoning."""
    config = BackEndConfig(keyframe_distance=1e3, keyframe_angle=3.0, keyframe_time=0.5, odometry_sigma=(100.0, 1.0),
                           odometry_drift=(0.0, 0.0), gnss_baseline=0.0, max_speed=5.0, robust='none',
                           max_iterations=50)
    back_end, every, sigma = PoseGraphBackEnd(config), 400, 0.02
    for k, stamp in enumerate(FLIGHT.stamps_ns.tolist()):
        back_end.add_imu(stamp, FLIGHT.imu[k], np.zeros(6), SOURCE)
        if k % 2 == 0:
            pose = TRUTH[k].copy()
            pose[0] += 4.0 * 0.005 * (k % every)
            back_end.add_odometry(stamp, pose)
        at = k - late
        if at > 0 and at % every in (150, 320):        # between keyframes
            position = TRUTH[at, :3] + sigma * np.random.default_rng(at).standard_normal(3)
            verdict = back_end.add_position(int(FLIGHT.stamps_ns[at]), position, np.eye(3) * sigma ** 2)
            assert verdict.accepted
    assert back_end.solve().solution is not None, back_end.last_job.problem
    leaps = len([m for m in back_end.take_messages() if 'leapt' in m[1]])
    stamps, rows = back_end.keyframes['stamp_ns'], np.searchsorted(FLIGHT.stamps_ns, back_end.keyframes['stamp_ns'])
    assert leaps == (len(FLIGHT.stamps_ns) - 1) // every and (FLIGHT.stamps_ns[rows] == stamps).all()
    inside = rows < at
    error = np.linalg.norm((back_end.keyframes['pose'] - TRUTH[rows])[inside, :3], axis=1)
    assert np.sqrt((error ** 2).mean()) < 0.05, error
