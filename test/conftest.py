"""Before rclpy.init(): loopback only, fast discovery, a domain of this process's own."""
import os
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile('repeatable', derandomize=True, database=None)
hypothesis.settings.load_profile('repeatable')
_here = Path(__file__).parent
os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)      # pip-only environments
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
for _name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
    os.environ[_name] = str(_here / 'fastdds_loopback.xml')  # <= jazzy, >= kilted
if 'PYTEST_XDIST_WORKER' in os.environ:     # test processes side by side: a core each
    os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
os.environ.setdefault('ROS_LOG_DIR', str(Path(tempfile.gettempdir()) / f'roslog-{os.getuid()}'))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """With PYPOSE_NATIVE=0 a test of what says that it needs the native kernels is skipped, with that sentence."""
    try:
        return (yield)
    except (RuntimeError, AssertionError) as error:
        from pypose_core import native
        said = [line for line in str(error).splitlines() if f'native kernels: {native.status}' in line]
        if native.available or not said:
            raise
        pytest.skip(said[0])


pytest_runtest_setup = pytest_runtest_call      # fixtures


@pytest.fixture(scope='session')
def data() -> Path:
    """The folder of real recordings: $PYPOSE_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get('PYPOSE_DATA', _here.parents[1] / 'shared' / 'data'))
    if not folder.is_dir():
        pytest.skip(f'no real recordings: {folder} is absent (set PYPOSE_DATA)')
    return folder


@pytest.fixture
def rig():
    """The node under test and its peer, see node_rig.py; `rig.start(**params)` starts the node."""
    from node_rig import Rig, reserved_domain  # after the environment above is set
    with reserved_domain() as domain:
        made = Rig(domain)
        yield made
        made.close()


@pytest.fixture
def graph_rig():
    """The pose_graph node and its peer, see graph_rig.py."""
    from graph_rig import GraphRig
    from node_rig import reserved_domain
    with reserved_domain() as domain:
        made = GraphRig(domain)
        yield made
        made.close()
