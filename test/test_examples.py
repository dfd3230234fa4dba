"""Every numbered example runs, is short, and ends with a number as it should be."""
import re
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / 'examples'
#: The number in an example's last line lies between these two. Where noise decides it, the bounds come from theory or
#: from the noise itself: they are said beside them.
BOUNDS = {
    '01_pose_inversion': (0, 1e-8),
    '02_pose_graph': (0.02, 0.4),               # m: odometry alone is off by 1.9 m
    '03_bundle_adjustment': (0.9, 1.1),         # chi2 per degree of freedom; 5754 of them: 1 ± 0.02
    '04_imu_preintegration': (8.6, 9.4),        # χ² of 9, mean of 2000: 9 ± 0.1
    '06_mpc': (0, 0.5),                         # cm
    '05_learned_imu': (0, 4),                   # mrad: 0.01 rad/s of noise at 100 Hz leaves 1.7
    '07_extended_kalman_filter': (2.5, 3.5),    # χ² of 3
    '08_icp': (0, 1),                           # mm, of samples with 2 mm of noise
    '09_pnp': (0, 8),                           # mm: half a pixel at 6 m is 7
    '10_spline': (0, 40),                       # mm: fixes are off by 35
    '11_planning': (0, 0.5),                    # cm
    '12_bag_replay': (0, 30),                   # mm: corrections are off by 35
    '13_own_factor': (0, 20),                   # mm, of differences off by 10
    '15_learned_edge_weights': (0, 0.4),        # m: 2.1 believing every closure, 0.16 knowing which are right
    '16_learned_imu_covariance': (7.5, 12),     # χ² of 9; 328 with the stated noise
    '17_learned_mpc_cost': (0, 0.06),           # m/s, rad/s: 0.37 before
    '14_own_node': (0, 8),                      # cm: what is sent is off by 16
}


@pytest.mark.parametrize('name', BOUNDS)
def test_the_example_ends_with_the_right_number(name, capsys, monkeypatch):
    from node_rig import reserved_domain
    path = FOLDER / f'{name}.py'
    assert len(path.read_text().splitlines()) <= 60
    monkeypatch.setattr(sys, 'argv', [str(path)])
    monkeypatch.syspath_prepend(str(FOLDER))
    with reserved_domain() as domain:
        monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
        runpy.run_path(str(path), run_name='__main__')
    last = capsys.readouterr().out.strip().splitlines()[-1]
    number = float(re.findall(r'-?\d+(?:\.\d+)?(?:e-?\d+)?', last)[-1])
    low, high = BOUNDS[name]
    assert low <= number <= high, last


def test_every_numbered_example_is_run_by_a_test():
    tests = ''.join(path.read_text() for path in Path(__file__).parent.glob('test_*.py'))
    for path in FOLDER.glob('[0-9]*.py'):
        assert path.stem in tests, path.name
