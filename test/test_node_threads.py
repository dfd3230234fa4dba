"""What a node's threads ask of the operating system: turns of the callbacks, and stepping back of what may wait."""
import ctypes
import os
import platform
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pypose_ros.threads import BACKGROUND, TURN, take_short_turns, yield_to_others

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='priorities of threads are Linux\'s')
GET_ATTRIBUTES = {'x86_64': 315, 'aarch64': 275}.get(platform.machine())      # sched_getattr(2)


def turn() -> int:
    """ns, of the calling thread."""
    found = ctypes.create_string_buffer(56)
    assert GET_ATTRIBUTES is None or ctypes.CDLL(None).syscall(GET_ATTRIBUTES, 0, found, 56, 0) == 0
    return struct.unpack_from('Q', found, 24)[0]


def in_a_thread(call):
    """What it returns there."""
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def test_short_turns_are_inherited_by_threads_and_given_up_by_those_that_yield():
    def started() -> tuple:
        take_short_turns(0)     # another test may have run a node here
        usual = turn()
        take_short_turns()
        below = in_a_thread(lambda: (turn(), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))

        def works() -> tuple:
            yield_to_others()
            return turn(), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        return usual, turn(), below, in_a_thread(works)
    nice, before = os.getpriority(os.PRIO_PROCESS, 0), turn()
    usual, asked, below, worker = in_a_thread(started)
    if not usual:
        pytest.skip('this kernel has no turns of a length that is asked for (Linux 6.12)')
    assert asked == TURN < usual and below == (TURN, nice)
    assert worker == (usual, max(nice, BACKGROUND))
    assert turn() == before     # others of the process have what they had


@pytest.mark.parametrize('leads', [True, False])
def test_training_in_a_process_of_its_own_gives_way_to_everything(leads):
    """Its thread alone within the process, and the process beside others where it leads its session."""
    program = '''if True:
        import os, threading
        from pypose_ros.threads import yield_to_all
        thread = threading.Thread(target=lambda: (yield_to_all(), print(os.sched_getscheduler(0) == os.SCHED_IDLE)))
        thread.start()
        thread.join()
        print(os.sched_getscheduler(0) == os.SCHED_OTHER)
        if os.getsid(0) == os.getpid():
            print(open('/proc/self/autogroup').read().split()[-1])'''
    grouped = Path('/proc/self/autogroup')
    before = grouped.read_text() if grouped.exists() else ''
    if leads and not before:
        pytest.skip('this kernel does not group processes by session')
    told = subprocess.run([sys.executable, '-c', program], start_new_session=leads, capture_output=True, text=True,
                          check=True, timeout=120).stdout.split()
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        pytest.skip('the tests run at a priority of their own')
    assert told == ['True', 'True', *(['19'] if leads else [])]
    assert not before or grouped.read_text() == before
