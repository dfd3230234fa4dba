"""The learner among all nodes, on the simulated robot."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_robot_among_its_nodes_learns_its_calibration_from_the_pose_graph_alone(tmp_path):
    """Slip and a mis-calibrated IMU; the truth judges afterwards, on a drive that nobody has learned from."""
    done = subprocess.run([sys.executable, ROOT / 'benchmarks' / 'learning_live.py', '--quick', '--json',
                           tmp_path / 'live.json'], capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stderr
    rotation = json.loads((tmp_path / 'live.json').read_text())[0]
    assert rotation['agree'] and rotation['ours_s'] < 0.8 * rotation['peer_s'], rotation['note']
