"""Trajectories and TUM files: read is what was written; malformed is refused with its line."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pypose_core.metric import (
    Trajectory,
    TrajectoryFileError,
    associate,
    associate_interpolated,
    format_tum,
    read_tum,
    write_tum,
)

GOOD = ['1403715274.302142976 1 2 3 0 0 0 1', '1403715274.307142976 1 2 3 0 0 0 1']


def random_trajectory(count=50, seed=0, start_ns=1_403_715_274_302_142_976, step_ns=5_000_000):
    rng = np.random.default_rng(seed)
    poses = np.hstack([rng.normal(size=(count, 3)), Rotation.random(count, random_state=seed).as_quat()])
    return Trajectory(start_ns + step_ns * np.arange(count), poses)


def test_tum_round_trip_keeps_every_nanosecond(tmp_path):
    written = random_trajectory(step_ns=4_999_999)
    write_tum(tmp_path / 'a.tum', written)
    read = read_tum(tmp_path / 'a.tum')
    assert (read.stamps_ns == written.stamps_ns).all()
    np.testing.assert_allclose(read.poses, written.poses, atol=2e-9)
    assert [p.name for p in tmp_path.iterdir()] == ['a.tum']


@given(st.integers(-10 ** 17, 2 * 10 ** 18))
@settings(max_examples=50, deadline=None)
def test_any_stamp_survives_the_text(tmp_path_factory, stamp):
    path = tmp_path_factory.mktemp('tum') / 'a.tum'
    write_tum(path, Trajectory(np.array([stamp]), np.array([[0, 0, 0, 0, 0, 0, 1.0]])))
    assert read_tum(path).stamps_ns.tolist() == [stamp]


def test_scientific_stamps_commas_comments_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / 'a.tum'
    path.write_bytes(b'# a comment\r\n\r\n1.5e9 1 2 3 0 0 0 1\r\n1500000000.5,1,2,3,0,0,0,-1\r\n')
    assert read_tum(path).stamps_ns.tolist() == [1_500_000_000_000_000_000, 1_500_000_000_500_000_000]


@pytest.mark.parametrize('line, fault', [
    ('1403715274.4 1 2 3 0 0 0', '7 values'),
    ('1403715274.4 1 2 3 0 0 0 1 9', '9 values'),
    ('1403715274.4 1 2 three 0 0 0 1', 'not a number'),
    ('now 1 2 3 0 0 0 1', 'not a number'),
    ('1403715274.4 1 2 nan 0 0 0 1', 'not finite'),
    ('inf 1 2 3 0 0 0 1', 'not finite'),
    ('1403715274.4 1 2 3 0 0 0 0', 'norm 0'),
    ('1403715274.4 1 2 3 0 0 0 2', 'norm 2'),
    ('1403715274.307142976 1 2 3 0 0 0 1', 'not later'),
    ('1403715270 1 2 3 0 0 0 1', 'not later'),
    ('1403715274307142976 1 2 3 0 0 0 1', 'not in seconds'),
])
def test_a_malformed_line_is_refused_with_file_and_line(tmp_path, line, fault):
    path = tmp_path / 'bad.tum'
    path.write_text('\n'.join([*GOOD, line]) + '\n')
    with pytest.raises(TrajectoryFileError, match=rf'bad\.tum:3: .*{fault}') as error:
        read_tum(path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('content', [
    b'', b'# only a comment\n', b'\x89PNG\r\n\x1a\n\x00\xff', b'SQLite format 3\x00'])
def test_a_file_without_poses_is_refused(tmp_path, content):
    path = tmp_path / 'a.tum'
    path.write_bytes(content)
    with pytest.raises(TrajectoryFileError, match=r'a\.tum'):
        read_tum(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / 'absent', tmp_path):
        with pytest.raises(TrajectoryFileError):
            read_tum(path)


@given(cut=st.integers(1, 10 ** 6), data=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_a_cut_or_foreign_file_is_read_or_refused_in_one_line(tmp_path_factory, cut, data):
    folder = tmp_path_factory.mktemp('tum')
    whole = format_tum(random_trajectory(5)).encode()
    for content in (whole[:cut % len(whole)], data):
        (folder / 'a.tum').write_bytes(content)
        try:
            assert len(read_tum(folder / 'a.tum')) >= 1
        except TrajectoryFileError as error:
            assert 'a.tum' in str(error) and '\n' not in str(error)


@pytest.mark.parametrize('stamps, poses, fault', [
    ([0.0, 1.0], np.eye(8)[[7, 7], 1:], 'integer'),
    ([0, 1], np.zeros((3, 7)), r'poses \(N, 7\)'),
    ([0, 1], np.zeros((2, 7)), 'norm'),
    ([1, 1], np.eye(8)[[7, 7], 1:], 'not later'),
    ([0, 1], np.full((2, 7), np.nan), 'not finite'),
])
def test_a_trajectory_refuses_what_is_none(stamps, poses, fault):
    with pytest.raises(ValueError, match=fault):
        Trajectory(np.array(stamps), poses)


def test_interpolation_is_exact_on_constant_velocity_and_rate():
    stamps = np.arange(0, 10) * 100_000_000
    t = stamps * 1e-9

    def truth(t):
        turn = Rotation.from_rotvec(np.outer(t, [0.3, 0.2, -1]))
        return np.hstack([np.outer(t, [1, -2, 0.5]), turn.as_quat()])

    inside = np.array([12_345_678, 550_000_000, 900_000_000])
    found = Trajectory(stamps, truth(t)).interpolated(inside)
    wanted = truth(inside * 1e-9)
    np.testing.assert_allclose(found.positions, wanted[:, :3], atol=1e-12)
    relative = found.rotations.inv() * Rotation.from_quat(wanted[:, 3:])
    assert relative.magnitude().max() < 1e-8
    with pytest.raises(ValueError, match='outside'):
        Trajectory(stamps, truth(t)).interpolated([-1])


def test_association_takes_the_nearest_within_the_limit():
    reference = random_trajectory(100, step_ns=5_000_000, start_ns=0)
    estimate = random_trajectory(4, seed=1, step_ns=100_000_000, start_ns=2_400_000)
    # The last one lies beyond the limit of any.
    late = Trajectory(np.append(estimate.stamps_ns, 600_000_000), estimate.poses[[0, 1, 2, 3, 3]])
    a, b = associate(late, reference)
    assert a.stamps_ns.tolist() == estimate.stamps_ns.tolist()
    assert b.stamps_ns.tolist() == [0, 100_000_000, 200_000_000, 300_000_000]
    b2, a2 = associate(reference, late)
    assert (a2.stamps_ns == a.stamps_ns).all() and (b2.stamps_ns == b.stamps_ns).all()


def test_association_agrees_with_all_pairs_of_differences():
    rng = np.random.default_rng(3)
    a = random_trajectory(200, seed=1)
    a = Trajectory(np.sort(rng.choice(10 ** 9, 200, replace=False)), a.poses)
    b = random_trajectory(300, seed=2)
    b = Trajectory(np.sort(rng.choice(10 ** 9, 300, replace=False)), b.poses)
    found_a, found_b = associate(a, b, max_difference=0.002)
    difference = np.abs(a.stamps_ns[:, None] - b.stamps_ns[None])
    nearest = difference.argmin(axis=1)
    close = {(i, j) for i, j in enumerate(nearest) if difference[i, j] <= 2_000_000}
    best = {j: min((difference[i, j], i) for i, k in close if k == j)[1] for _, j in close}
    assert set(zip(found_a.stamps_ns, found_b.stamps_ns)) == {
        (a.stamps_ns[i], b.stamps_ns[j]) for j, i in best.items()}


def test_interpolated_association_leaves_gaps_and_ends_out():
    reference = random_trajectory(10, step_ns=100_000_000, start_ns=0)[np.array([0, 1, 2, 6, 7, 8])]
    estimate = random_trajectory(100, step_ns=10_000_000, start_ns=-5_000_000)
    a, b = associate_interpolated(estimate, reference)
    assert len(a) == len(b) and (a.stamps_ns == b.stamps_ns).all()
    s = a.stamps_ns
    assert s.min() >= 0 and s.max() <= 800_000_000 and not ((s > 200_000_000) & (s < 600_000_000)).any()
    assert len(a) == 20 + 20


def test_association_of_nothing_is_nothing():
    some, none = random_trajectory(3), random_trajectory(3)[:0]
    for a, b in ((some, none), (none, some), (none, none)):
        assert [len(x) for x in associate(a, b)] == [0, 0]
        assert [len(x) for x in associate_interpolated(a, b)] == [0, 0]
