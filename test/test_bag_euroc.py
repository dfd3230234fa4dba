"""EuRoC: both layouts convert, nothing is lost on the way, malformed files are refused with their line."""
import shutil

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pypose_ros.bag import BagError, BagReader
from pypose_ros.bag.euroc import convert_euroc, read_euroc
from pypose_ros.bag.recording import read_series

STAMP = 1403715273262142976
SENSOR = """%YAML:1.0
sensor_type: imu
T_BS:
  cols: 4
  rows: 4
  data: [0.0, -1.0, 0.0, 0.1, 1.0, 0.0, 0.0, 0.2, 0.0, 0.0, 1.0, 0.3, 0.0, 0.0, 0.0, 1.0]
rate_hz: 200
gyroscope_noise_density: 1.0e-3
gyroscope_random_walk: 1.0e-5
accelerometer_noise_density: 2.0e-3
accelerometer_random_walk: 3.0e-3
"""


@pytest.fixture
def mav0(tmp_path):
    """A sequence of ten samples in the dataset's own layout."""
    imu, truth = tmp_path / 'seq/mav0/imu0', tmp_path / 'seq/mav0/state_groundtruth_estimate0'
    imu.mkdir(parents=True)
    truth.mkdir()
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(10, 6))
    states = rng.normal(size=(10, 16))
    states[:, 3:7] /= np.linalg.norm(states[:, 3:7], axis=1, keepdims=True)
    for folder, rows in ((imu, samples), (truth, states)):
        lines = ['#timestamp [ns],header'] + [
            f'{STAMP + 5_000_192 * k},' + ','.join(map(repr, map(float, row))) for k, row in enumerate(rows)]
        (folder / 'data.csv').write_text('\r\n'.join(lines) + '\r\n')
    (imu / 'sensor.yaml').write_text(SENSOR)
    return tmp_path / 'seq', samples, states


def test_conversion_loses_nothing(mav0, tmp_path):
    folder, samples, states = mav0
    counts = convert_euroc(folder, tmp_path / 'out.mcap')
    assert counts == {'/tf_static': 1, '/imu/data_raw': 10, '/ground_truth/odometry': 10,
                      '/ground_truth/bias': 10}
    with BagReader(tmp_path / 'out.mcap') as bag:
        series = read_series(bag, ['/imu/data_raw', '/ground_truth/odometry', '/ground_truth/bias'])
        tf = bag.decode(next(bag.messages(['/tf_static']))).transforms[0]
    stamps = STAMP + 5_000_192 * np.arange(10)
    imu, truth, bias = series.values()
    for one in (imu, truth, bias):
        assert (one.stamps_ns == stamps).all() and (one.log_ns == stamps).all()
    np.testing.assert_array_equal(imu.samples, samples)
    np.testing.assert_allclose(truth.poses, states[:, [0, 1, 2, 4, 5, 6, 3]], atol=1e-15)
    v_world = Rotation.from_quat(truth.poses[:, 3:]).apply(truth.twists[:, :3])
    np.testing.assert_allclose(v_world, states[:, 7:10], atol=1e-12)
    np.testing.assert_array_equal(bias.biases, states[:, 10:])
    np.testing.assert_allclose(imu.covariances[0, 1:, [0, 4, 8]], [[1e-6 * 200, 4e-6 * 200]] * 3)
    q, t = tf.transform.rotation, tf.transform.translation
    assert (tf.header.frame_id, tf.child_frame_id) == ('base_link', 'imu0')
    np.testing.assert_allclose([t.x, t.y, t.z], [0.1, 0.2, 0.3])
    np.testing.assert_allclose(Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix(),
                               [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)


def test_the_folder_mav0_itself_converts_too(mav0):
    folder, samples, _ = mav0
    np.testing.assert_array_equal(read_euroc(folder / 'mav0').imu, samples)


@pytest.mark.parametrize('line, fault', [
    (f'{STAMP + 10 ** 9},1,2,3', '4 values'),
    (f'{STAMP + 10 ** 9},1,2,3,4,5,six', 'not a number'),
    (f'{STAMP + 10 ** 9},1,2,3,4,5,nan', 'not finite'),
    (f'{STAMP},1,2,3,4,5,6', 'not later'),
    ('1403715274.5,1,2,3,4,5,6', 'not a number'),
])
def test_a_malformed_line_is_refused_and_nothing_is_written(mav0, tmp_path, line, fault):
    file = mav0[0] / 'mav0/imu0/data.csv'
    file.write_text(file.read_text() + line + '\n')
    with pytest.raises(BagError, match=rf'data\.csv:12: .*{fault}'):
        convert_euroc(mav0[0], tmp_path / 'out.mcap')
    assert [p.name for p in tmp_path.iterdir()] == ['seq']


def test_what_is_no_sequence_is_refused(mav0, tmp_path):
    with pytest.raises(BagError, match='no such folder'):
        convert_euroc(tmp_path / 'absent', tmp_path / 'out.mcap')
    (tmp_path / 'other').mkdir()
    with pytest.raises(BagError, match='not a EuRoC sequence'):
        convert_euroc(tmp_path / 'other', tmp_path / 'out.mcap')
    (mav0[0] / 'mav0/imu0/sensor.yaml').write_text('rate_hz: 200')
    with pytest.raises(BagError, match=r'sensor\.yaml'):
        convert_euroc(mav0[0], tmp_path / 'out.mcap')
    assert not (tmp_path / 'out.mcap').exists()
    (mav0[0] / 'mav0/imu0/sensor.yaml').write_text(SENSOR)
    (tmp_path / 'out.mcap').touch()
    with pytest.raises(BagError, match='exists'):
        convert_euroc(mav0[0], tmp_path / 'out.mcap')
    convert_euroc(mav0[0], tmp_path / 'out.mcap', overwrite=True)


def test_a_real_sequence_in_the_flat_layout_converts(data, tmp_path):
    cut = tmp_path / 'seq'
    cut.mkdir()
    for name, count in (('imu0.csv', 2001), ('gt_state_20hz.csv', 101), ('gt_pose_200hz_tum.txt', 501)):
        lines = (data / 'euroc/V1_01_easy' / name).read_text().splitlines(keepends=True)
        (cut / name).write_text(''.join(lines[:count]))
    shutil.copy(data / 'euroc/MH_01_easy/imu0_sensor.yaml', cut)
    counts = convert_euroc(cut, tmp_path / 'out.mcap')
    assert counts['/imu/data_raw'] == 2000 and counts['/ground_truth/odometry'] == 100
    assert counts['/ground_truth/pose'] == 500
    with BagReader(tmp_path / 'out.mcap') as bag:
        imu = read_series(bag, ['/imu/data_raw'])['/imu/data_raw']
    assert imu.stamps_ns[0] == STAMP
    assert imu.covariances[0, 1, 0] == pytest.approx(1.6968e-4 ** 2 * 200)
