"""Learning through the controller: the example."""
import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / 'examples' / 'learn_mpc_dynamics.py'


def test_slip_learned_from_ten_seconds_of_driving_brings_the_robot_closer_to_paths_it_never_saw():
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = re.findall(r'(\w+): ([\d.]+) m from the path before, ([\d.]+) m after', done.stdout)
    found = {kind: (float(before), float(after)) for kind, before, after in lines}
    assert found.keys() == {'eight', 'circle', 'slalom'}
    for unseen in ('circle', 'slalom'):
        before, after = found[unseen]
        assert before > 0.02 and after < before / 2
