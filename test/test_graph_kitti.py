"""The example on KITTI's IMU and GPS: what it prints, and that its optimum is GTSAM's."""
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / 'examples' / 'kitti_imu_gps.py'
#: By GTSAM 4.3.0's Levenberg-Marquardt on the same factors from the same guess (benchmarks/kitti.py).
GTSAM_COST, GTSAM_RMSE = 10815.767, 0.7467


def test_example_prints_an_error_no_worse_than_that_of_gtsam(data):
    done = subprocess.run([sys.executable, EXAMPLE, data / 'kitti_imu_gps'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'cannot be lowered' in done.stdout
    assert float(done.stdout.split('held-out fixes: ')[1].split()[0]) <= GTSAM_RMSE


def test_optimum_is_that_of_gtsam(data):
    example = runpy.run_path(str(EXAMPLE))
    fixes, samples, noise = example['load'](data / 'kitti_imu_gps')
    assert len(fixes) == 469 and samples.shape[0] == 468
    graph = example['build'](fixes, samples, noise)
    result = graph.optimize()
    assert result.status.ok and result.stats.cost[-1] == pytest.approx(GTSAM_COST, rel=1e-4)
    assert example['held_out_rmse'](fixes, result.value['state']) == pytest.approx(GTSAM_RMSE, abs=1e-3)


@pytest.mark.slow
def test_noise_learned_on_the_first_half_brings_the_fixes_of_the_second_one_closer(data):
    done = subprocess.run([sys.executable, EXAMPLE.with_name('learn_imu_noise.py'), data / 'kitti_imu_gps'],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split('held-out fixes: ')[1].split()
    before, after = float(words[0]), float(words[words.index('noise,') + 1])
    assert before == pytest.approx(0.8418, abs=1e-3) and after < 0.8
