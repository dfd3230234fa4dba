"""Offline replay: right, deterministic to the byte, complete, and refusing what it cannot use."""
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml

from pypose_core.inertial import ImuNoise
from pypose_core.metric import Trajectory, read_tum, write_tum
from pypose_ros.bag import BagReader, BagWriter, messages
from pypose_ros.bag.config import load_parameters
from pypose_ros.bag.corrections import draw_corrections
from pypose_ros.bag.evaluation import evaluate
from pypose_ros.bag.offline import replay_offline
from pypose_ros.bag.replay_input import ReplayOptions, read_input
from pypose_ros.bag.resources import resource
from pypose_ros.bag.results import FILES
from pypose_ros.bag.synthetic import MEMS, FlightConfig, write_flight
from pypose_ros.cli import main

CONFIG = str(resource('config/synthetic.yaml'))


def metrics_of(bag, config=CONFIG, overrides=(), **options):
    """What a replay measures, without its pictures."""
    params = load_parameters(config, overrides)
    source = read_input(bag, ReplayOptions(**options), base_frame=params.base_frame,
                        extrinsic=params.extrinsic_imu_to_base)
    estimate, _ = replay_offline(source, params)
    assert np.isfinite(estimate.poses).all() and np.isfinite(estimate.pose_covariances).all()
    return evaluate(source, estimate, mode='offline').metrics


@pytest.fixture(scope='module')
def flight(tmp_path_factory):
    path = tmp_path_factory.mktemp('bag') / 'flight.mcap'
    return path, write_flight(path, FlightConfig(duration=10.0))


@pytest.fixture(scope='module')
def run(flight, tmp_path_factory):
    """One replay that the tests look at."""
    out = tmp_path_factory.mktemp('run') / 'out'
    assert main(['replay', str(flight[0]), '--config', CONFIG, '--out', str(out)]) == 0
    return out


def test_the_flight_is_followed_and_every_file_written(run, flight):
    assert sorted(p.name for p in run.iterdir()) == sorted(FILES)
    metrics = json.loads((run / 'metrics.json').read_text())
    assert metrics['ate']['none']['translation_m']['rmse'] < 0.025
    assert metrics['ate']['none']['rotation_deg']['rmse'] < 0.5
    assert metrics['velocity']['rmse_m_s'] < 0.05
    assert metrics['bias']['gyroscope_rmse_rad_s'] < 3e-3
    assert metrics['measurements'] == {'accepted': metrics['corrections'][0]['count']}
    trajectory = read_tum(run / 'trajectory.tum')
    assert len(trajectory) == metrics['output']['samples'] > 1700
    assert set(trajectory.stamps_ns) <= set(flight[1].stamps_ns)


def test_the_written_parameters_reproduce_the_run(run, flight, tmp_path):
    written = yaml.safe_load((run / 'parameters.yaml').read_text())
    parameters = written['imu_preintegration']['ros__parameters']
    assert parameters['extrinsic_imu_to_base'] == [0, 0, 0, 0, 0, 0, 1]      # found in /tf_static
    assert parameters['gyroscope_noise_density'] == 5e-4 and parameters['init']['mode'] == 'static'
    assert main(['replay', str(flight[0]), '--config', str(run / 'parameters.yaml'), '--out',
                 str(tmp_path / 'again')]) == 0
    for name in FILES:
        assert (tmp_path / 'again' / name).read_bytes() == (run / name).read_bytes(), name


def test_another_process_writes_the_same_bytes(run, flight, tmp_path):
    subprocess.run([sys.executable, '-m', 'pypose_ros.cli', 'replay', flight[0], '--config', CONFIG,
                    '--out', tmp_path / 'a'], check=True, capture_output=True, cwd=tmp_path)
    for name in FILES:
        assert (tmp_path / 'a' / name).read_bytes() == (run / name).read_bytes(), name


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.references, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [value for name, value in attributes
                            if name in ('src', 'href', 'xlink:href', 'srcset', 'data', 'action') and value]


def test_the_report_needs_no_network_and_shows_the_numbers(run):
    html = (run / 'report.html').read_text()
    page = Page()
    page.feed(html)
    assert all(reference.startswith(('#', 'data:')) for reference in page.references)
    assert not {'script', 'link', 'iframe', 'object', 'base'} & set(page.tags)
    assert not re.search(r'@import|url\((?!#)', html)
    assert page.tags.count('svg') >= 8 and 'NEES of the pose' in html and 'gyroscope_noise_density' in html
    metrics = json.loads((run / 'metrics.json').read_text())
    assert f'{metrics["ate"]["none"]["translation_m"]["rmse"]:.4f} m' in html
    assert (run / 'overview.png').read_bytes().startswith(b'\x89PNG')


def test_the_shipped_configuration_is_the_flights_noise():
    params = load_parameters(CONFIG)
    for name in ('gyroscope_noise_density', 'accelerometer_noise_density', 'gyroscope_random_walk',
                 'accelerometer_random_walk'):
        assert getattr(params, name) == getattr(MEMS, name)
    assert load_parameters(resource('config/euroc.yaml')).init.mode == 'pose'


def test_drawn_corrections_have_the_stated_noise_and_seed():
    t = np.arange(40001) * 5_000_000
    truth = Trajectory(t, np.tile([1.0, 2, 3, 0, 0, 0, 1], (len(t), 1)))
    drawn = draw_corrections(truth, rate=100.0, sigma=(0.02, 0.5), seed=1, delay=0.03)
    assert len(drawn) == 20001 and (np.diff(drawn.stamps_ns) == 10_000_000).all()
    assert (drawn.arrivals_ns - drawn.stamps_ns == 30_000_000).all()
    np.testing.assert_allclose((drawn.poses[:, :3] - [1, 2, 3]).std(axis=0), 0.02, rtol=0.03)
    np.testing.assert_allclose(2 * drawn.poses[:, 3:6].std(axis=0), np.radians(0.5), rtol=0.03)
    np.testing.assert_allclose(np.sqrt(np.diag(drawn.covariances[0])), [0.02] * 3 + [np.radians(0.5)] * 3)
    again, other = draw_corrections(truth, seed=1), draw_corrections(truth, seed=2)
    np.testing.assert_array_equal(again.poses, draw_corrections(truth, seed=1).poses)
    assert np.abs(again.poses - other.poses).max() > 0.01
    sparse = draw_corrections(truth[::50], rate=10.0)        # 4 Hz of truth give no 10 Hz of corrections
    assert len(sparse) == len(truth[::50])


def test_events_come_in_the_order_of_arrival(flight):
    source = read_input(flight[0], ReplayOptions())
    schedule = source.schedule()
    assert len(schedule) == len(source.imu.stamps_ns) + len(source.corrections[0])
    assert [arrival for arrival, _, _ in schedule] == sorted(arrival for arrival, _, _ in schedule)
    arrival, kind, k = next(entry for entry in schedule if entry[1] == 1)
    assert arrival == source.corrections[0].stamps_ns[k] + 20_000_000


def test_corrections_come_from_a_tum_file_as_from_the_topic(flight, tmp_path):
    write_tum(tmp_path / 'truth.tum', Trajectory(flight[1].stamps_ns, flight[1].truth.poses))
    by_file, by_topic = (read_input(flight[0], ReplayOptions(corrections_from=source)).corrections
                         for source in (str(tmp_path / 'truth.tum'), '/ground_truth/odometry'))
    assert len(by_file) == len(by_topic) == 1
    np.testing.assert_allclose(by_file[0].poses, by_topic[0].poses, atol=1e-8)
    assert (by_file[0].stamps_ns == by_topic[0].stamps_ns).all()


def test_a_bag_that_plays_twice_resets_and_runs_again(flight, tmp_path):
    with BagReader(flight[0]) as bag:
        recorded = list(bag.messages())
    later = recorded[-1].log_ns - recorded[0].log_ns + 10 ** 9
    with BagWriter(tmp_path / 'twice.mcap') as out:
        for shift in (0, later):
            for m in recorded:
                out.write_raw(m.topic, m.msgtype, m.log_ns + shift, m.raw)
    metrics = metrics_of(tmp_path / 'twice.mcap')
    assert metrics['measurements']['resets'] == 1
    assert any('jumped back' in event for event in metrics['events'])
    assert metrics['output']['samples'] > 3400
    assert metrics['ate']['none']['translation_m']['rmse'] < 0.025


def test_a_flight_without_truth_is_replayed_without_errors(flight, tmp_path, capsys):
    assert main(['replay', str(flight[0]), '--config', CONFIG, '--out', str(tmp_path / 'out'),
                 '--ground-truth', 'none']) == 0
    metrics = json.loads((tmp_path / 'out/metrics.json').read_text())
    assert 'ate' not in metrics and metrics['output']['samples'] > 1700
    assert 'replay: 100 %' in capsys.readouterr().err       # progress, as lines where there is no terminal
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == sorted(FILES)


def test_a_folder_that_holds_no_results_is_not_replaced(flight, tmp_path, capsys):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/thesis.txt').write_text('years of work')
    assert main(['replay', str(flight[0]), '--config', CONFIG, '--out', str(tmp_path / 'mine')]) == 2
    assert 'holds no results' in capsys.readouterr().err
    assert [p.name for p in (tmp_path / 'mine').iterdir()] == ['thesis.txt']


@pytest.mark.parametrize('arguments, reason', [
    (['--imu-topic', '/nothing'], 'no such topic'),
    (['--imu-topic', '/pose'], 'its type is'),
    (['--ground-truth', '/nothing'], 'neither a topic'),
    (['--corrections-from', 'absent.tum'], 'neither a topic'),
    (['-p', 'windowsize:=3'], 'did you mean window_size'),
    (['-p', 'window_size:=lots'], 'window_size'),
    (['-p', 'nonsense'], 'name:=value'),
    (['-p', 'base_frame:=robot'], 'extrinsic_imu_to_base'),
    (['-p', 'init.mode:=pose', '--pose-topic', 'none'], 'give --corrections-from'),
    (['-p', 'time_budget:=0.1'], 'time_budget'),
    (['--correction-rate', '0', '--corrections-from', '/ground_truth/odometry'], 'rate > 0'),
])
def test_what_cannot_be_used_is_one_line_and_leaves_nothing(flight, tmp_path, capsys, arguments, reason):
    replay = ['replay', str(flight[0]), '--config', CONFIG, '--out', str(tmp_path / 'out')]
    assert main([*replay, *arguments]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith('pypose-ros: ')]
    assert len(error) == 1 and reason in error[0]
    assert list(tmp_path.iterdir()) == []


def test_a_cut_bag_leaves_nothing(flight, tmp_path, capsys):
    data = flight[0].read_bytes()
    (tmp_path / 'cut.mcap').write_bytes(data[:len(data) // 2])
    assert main(['replay', str(tmp_path / 'cut.mcap'), '--out', str(tmp_path / 'out')]) == 2
    assert capsys.readouterr().err.count('\n') == 1
    assert [p.name for p in tmp_path.iterdir()] == ['cut.mcap']


def test_several_imus_must_be_told_apart(tmp_path, capsys):
    with BagWriter(tmp_path / 'two.mcap') as bag:
        for k in range(20):
            for side in ('left', 'right'):
                stamp = k * 10 ** 7 + 1
                bag.write(f'/{side}/imu', stamp, messages.imu(stamp, side, np.ones(6), (0, 0)))
    assert main(['replay', str(tmp_path / 'two.mcap'), '--out', str(tmp_path / 'out')]) == 2
    assert 'choose with --imu-topic' in capsys.readouterr().err


def test_a_faster_imu_is_followed_too(tmp_path):
    noise = ImuNoise(gyroscope_noise_density=1e-4, accelerometer_noise_density=1e-3,
                     gyroscope_random_walk=1e-5, accelerometer_random_walk=1e-4)
    write_flight(tmp_path / 'fast.mcap', FlightConfig(duration=6.0, imu_rate=1000.0, noise=noise, seed=5))
    metrics = metrics_of(tmp_path / 'fast.mcap')
    assert metrics['output']['rate_hz'] == pytest.approx(1000)
    assert metrics['ate']['none']['translation_m']['rmse'] < 0.025


IDENTITY = 'extrinsic_imu_to_base:=[0,0,0,0,0,0,1]'


@pytest.mark.parametrize('name, overrides, share', [
    ('imu_tools_sparkfun_razor.bag', ['init.mode:=zero', IDENTITY], 0.05),    # uncorrected: it diverges
    pytest.param('robot_localization_test1_husky.bag', [IDENTITY], 0.9, marks=pytest.mark.slow),
    pytest.param('robot_localization_test2_jackal.bag', [], 0.9, marks=pytest.mark.slow),
])
def test_real_recordings_are_replayed(data, name, overrides, share):
    metrics = metrics_of(data / 'bags' / name, None, overrides)
    assert metrics['output']['samples'] > share * metrics['imu']['samples']
