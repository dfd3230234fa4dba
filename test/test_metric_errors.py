"""ATE, RPE, alignment and NEES against independent formulas and known answers."""
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from pypose_core.metric import (
    Statistics,
    Trajectory,
    align,
    ate,
    effective_samples,
    nees,
    pairs_at_distance,
    pairs_at_frames,
    pairs_at_seconds,
    relative_error,
    rmse,
    umeyama,
    yaw_alignment,
)


def walk(count=200, seed=0, step_ns=10_000_000):
    rng = np.random.default_rng(seed)
    positions = np.cumsum(rng.normal(size=(count, 3)), axis=0) * 0.1
    rotations = Rotation.from_rotvec(np.cumsum(rng.normal(size=(count, 3)), axis=0) * 0.05)
    return Trajectory(step_ns * np.arange(count), np.hstack([positions, rotations.as_quat()]))


def noisy(trajectory, seed=1, sigma=0.05):
    rng = np.random.default_rng(seed)
    rotations = trajectory.rotations * Rotation.from_rotvec(sigma * rng.normal(size=(len(trajectory), 3)))
    positions = trajectory.positions + sigma * rng.normal(size=(len(trajectory), 3))
    return Trajectory(trajectory.stamps_ns, np.hstack([positions, rotations.as_quat()]))


def matrices(trajectory):
    T = np.tile(np.eye(4), (len(trajectory), 1, 1))
    T[:, :3, :3] = trajectory.rotations.as_matrix()
    T[:, :3, 3] = trajectory.positions
    return T


def angle_deg(R):
    """Independent of quaternions: from |R - R'| and the trace, accurate at 0 and at pi."""
    sine = np.linalg.norm(R - np.swapaxes(R, -1, -2), axis=(-2, -1)) / np.sqrt(8)
    return np.degrees(np.arctan2(sine, (np.trace(R, axis1=-2, axis2=-1) - 1) / 2))


def test_ate_is_that_of_four_by_four_matrices():
    truth = walk()
    estimate = noisy(truth)
    error = np.linalg.inv(matrices(truth)) @ matrices(estimate)
    found = ate(estimate, truth)
    np.testing.assert_allclose(found.translation_errors, np.linalg.norm(error[:, :3, 3], axis=1), atol=1e-12)
    np.testing.assert_allclose(found.rotation_errors, angle_deg(error[:, :3, :3]), atol=1e-7)
    e = found.translation_errors
    assert found.translation.rmse == pytest.approx(np.sqrt(np.mean(e ** 2)), rel=1e-12)
    assert found.translation.mean == pytest.approx(np.mean(e)) and found.translation.max == e.max()
    assert found.translation.sse == pytest.approx(np.sum(e ** 2)) and found.translation.count == len(e)


def test_known_errors_give_known_numbers():
    truth = walk()
    turned = Rotation.from_euler('x', 2, degrees=True)
    estimate = Trajectory(truth.stamps_ns, np.hstack([
        truth.positions + [0.03, 0, 0.04], (truth.rotations * turned).as_quat()]))
    found = ate(estimate, truth)
    assert found.translation.rmse == pytest.approx(0.05, rel=1e-12)
    assert found.rotation.rmse == pytest.approx(2.0, rel=1e-9)
    assert ate(estimate, truth, alignment='se3').translation.rmse < 1e-12
    assert ate(estimate, truth, alignment='yaw').translation.rmse < 1e-12


@pytest.mark.parametrize('alignment, scale', [('se3', 1.0), ('sim3', 1.7)])
def test_alignment_undoes_a_known_transformation(alignment, scale):
    truth = walk()
    moved = truth.transformed(Rotation.from_rotvec([0.5, -1.0, 2.0]), [3, -2, 1], scale)
    found = ate(moved, truth, alignment=alignment)
    assert found.translation.max < 1e-12 and found.rotation.max < 1e-5
    assert found.alignment.scale == pytest.approx(1 / scale, rel=1e-12)


def test_yaw_alignment_undoes_yaw_but_not_tilt():
    truth = walk()
    turned = truth.transformed(Rotation.from_euler('z', 2.5), [3, -2, 1])
    assert ate(turned, truth, alignment='yaw').translation.max < 1e-12
    tilted = truth.transformed(Rotation.from_euler('x', 0.2), [0, 0, 0])
    assert ate(tilted, truth, alignment='yaw').rotation.mean > 5


@pytest.mark.parametrize('alignment', ['yaw', 'se3', 'sim3'])
def test_no_other_transformation_fits_better(alignment):
    truth = walk()
    estimate = noisy(truth, sigma=0.3).transformed(Rotation.from_rotvec([0.0, 0.0, 1.0]), [1, 2, 3], 1.2)
    x, y = estimate.positions, truth.positions

    def cost(p):
        turn = Rotation.from_rotvec([0, 0, p[0]] if alignment == 'yaw' else p[:3])
        scale = np.exp(p[6]) if alignment == 'sim3' else 1.0
        return ((y - scale * turn.apply(x) - p[3:6]) ** 2).sum()

    a = align(estimate, truth, alignment)
    vector = a.rotation.as_rotvec()
    turn = [vector[2], 0, 0] if alignment == 'yaw' else vector
    start = np.concatenate([turn, a.translation, [np.log(a.scale)]])
    best = minimize(cost, start + 0.05, method='BFGS')
    assert cost(start) <= best.fun * (1 + 1e-9)


@pytest.mark.parametrize('flatness', [0.0, 1e-9, 1e-3])
def test_a_mirrored_or_planar_set_never_gives_a_reflection(flatness):
    for seed in range(50):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(8, 3)) * [1, 1, flatness]
        y = (x * [1, 1, -1]) @ Rotation.random(random_state=seed).as_matrix().T
        y += 1e-4 * rng.normal(size=(8, 3))
        found = umeyama(x, y)
        R = found.rotation.as_matrix()
        assert np.linalg.det(R) == pytest.approx(1)
        assert np.sqrt(((y - x @ R.T - found.translation) ** 2).sum(axis=1).mean()) < 1e-3 + 4 * flatness


def test_undetermined_alignments_say_so():
    line = np.outer(np.arange(5.0), [1, 2, 3])
    assert 'line' in umeyama(line, line).degenerate
    assert 'line' in umeyama(np.ones((4, 3)), np.ones((4, 3))).degenerate
    climb = np.outer(np.arange(5.0), [0, 0, 1])
    assert 'yaw' in yaw_alignment(climb, climb).degenerate
    assert not umeyama(walk().positions, walk().positions).degenerate


def test_rpe_is_that_of_four_by_four_matrices():
    truth = walk()
    estimate = noisy(truth)
    Q, P = matrices(truth), matrices(estimate)
    for delta in (1, 7):
        error = (np.linalg.inv(np.linalg.inv(Q[:-delta]) @ Q[delta:])
                 @ (np.linalg.inv(P[:-delta]) @ P[delta:]))
        found = relative_error(estimate, truth, delta=delta, unit='frames')
        length = np.linalg.norm(error[:, :3, 3], axis=1)
        np.testing.assert_allclose(found.translation_errors, length, atol=1e-12)
        np.testing.assert_allclose(found.rotation_errors, angle_deg(error[:, :3, :3]), atol=1e-7)


def test_rpe_does_not_see_a_change_of_frame_and_sees_the_drift():
    truth = walk()
    moved = truth.transformed(Rotation.from_rotvec([1, 2, 3]), [5, 6, 7])
    assert relative_error(moved, truth, delta=1, unit='frames').translation.max < 1e-12
    t = np.arange(500) * 0.01
    still = np.tile([0, 0, 0, 0, 0, 0, 1.0], (500, 1))
    drifting = still.copy()
    drifting[:, 0] = 0.02 * t                                   # 2 cm/s
    drifting[:, 3:] = Rotation.from_euler('z', 3 * t[:, None], degrees=True).as_quat()   # 3 degrees/s
    stamps = (np.arange(500) * 10_000_000)
    found = relative_error(Trajectory(stamps, drifting), Trajectory(stamps, still), delta=1.0, unit='seconds')
    assert found.translation.rmse == pytest.approx(0.02, rel=1e-9)
    assert found.rotation.rmse == pytest.approx(3.0, rel=1e-6)
    assert len(found.pairs) == 400


def test_pairs_are_as_far_apart_as_asked():
    trajectory = walk(2000)
    assert pairs_at_frames(10, 3).tolist() == [[i, i + 3] for i in range(7)]
    assert pairs_at_frames(10, 3, overlapping=False).tolist() == [[0, 3], [3, 6], [6, 9]]
    i, j = pairs_at_distance(trajectory, 5.0).T
    assert np.abs(trajectory.distances[j] - trajectory.distances[i] - 5.0).max() <= 0.5 and len(i) > 1000
    i, j = pairs_at_seconds(trajectory, 0.5).T
    assert (trajectory.stamps_ns[j] - trajectory.stamps_ns[i] >= 450_000_000).all()


def test_the_callers_mistakes_are_named():
    truth = walk()
    with pytest.raises(ValueError, match='associate'):
        ate(truth, truth[:5])
    with pytest.raises(ValueError, match='do not meet'):
        ate(truth[:0], truth[:0])
    with pytest.raises(ValueError, match='sim3'):
        ate(truth, truth, alignment='sim2')
    with pytest.raises(ValueError, match='apart'):
        relative_error(truth, truth, delta=1e6, unit='metres')
    with pytest.raises(ValueError, match='unit'):
        relative_error(truth, truth, unit='parsec')
    with pytest.raises(ValueError, match='at least one'):
        Statistics.of(np.array([]))
    with pytest.raises(ValueError, match='covariance 1'):
        nees(np.ones((2, 2)), np.stack([np.eye(2), np.diag([1.0, 0.0])]))


def test_nees_of_consistent_errors_lies_in_the_band_and_of_others_not():
    rng = np.random.default_rng(0)
    d, count = 6, 2000
    factors = np.eye(d) + 0.3 * rng.normal(size=(count, d, d))
    covariances = factors @ np.swapaxes(factors, 1, 2)
    errors = (factors @ rng.normal(size=(count, d, 1)))[..., 0]
    found = nees(errors, covariances)
    by_hand = [e @ np.linalg.inv(P) @ e for e, P in zip(errors, covariances)]
    np.testing.assert_allclose(found.values, by_hand, rtol=1e-8)
    assert found.consistent and 0.93 < found.inside < 0.97 and found.mean == pytest.approx(6, abs=0.3)
    assert found.sample_band == pytest.approx((chi2.ppf(0.025, 6), chi2.ppf(0.975, 6)))
    exact = nees(errors, covariances, independent=count)
    assert exact.band == pytest.approx((chi2.ppf(0.025, 12000) / 2000, chi2.ppf(0.975, 12000) / 2000))
    assert nees(errors * 1.2, covariances).mean > found.band[1]
    assert nees(errors * 0.8, covariances).mean < found.band[0]
    assert not nees(errors * 1.2, covariances).consistent


def test_correlated_errors_count_as_the_fewer_they_are():
    rng = np.random.default_rng(0)
    white = rng.normal(size=(20000, 2))
    assert effective_samples(white) > 15000
    a = 0.95                                       # AR(1): its square is worth N (1 - a^2) / (1 + a^2)
    coloured = np.zeros((20000, 2))
    for k in range(1, 20000):
        coloured[k] = a * coloured[k - 1] + white[k]
    assert effective_samples(coloured) == pytest.approx(20000 * (1 - a ** 2) / (1 + a ** 2), rel=0.2)
    twins = effective_samples(np.repeat(coloured[:, :1], 2, axis=1))    # the same error twice is one
    assert twins == pytest.approx(effective_samples(coloured[:, :1]) / 2, rel=0.05)
    assert effective_samples(np.ones((10, 1))) == pytest.approx(1.0)
    assert effective_samples(np.zeros((10, 2))) == 1.0


def test_the_band_holds_for_correlated_errors_of_a_consistent_estimator():
    a, inside = 0.98, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        z = np.empty((600, 3))
        z[0] = rng.normal(size=3)
        for k in range(1, 600):
            z[k] = a * z[k - 1] + np.sqrt(1 - a ** 2) * rng.normal(size=3)
        inside += nees(z, np.tile(np.eye(3), (600, 1, 1))).consistent
    assert inside >= 50                            # 95 % of 60 is 57; the band itself is an estimate


def test_rmse_of_vectors_is_that_of_their_lengths():
    assert rmse(np.array([[3.0, 0, 0], [0, 0, 0]]), np.array([[0.0, 0, 0], [0, 4, 0]])) == pytest.approx(
        np.sqrt((9 + 16) / 2))
    with pytest.raises(ValueError, match='vectors'):
        rmse(np.zeros((0, 3)), np.zeros((0, 3)))
