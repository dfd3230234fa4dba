"""Processes of a run: started in a ROS domain of their own, watched, and ended."""
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pypose_ros.bag.errors import RunError

START_TIMEOUT = 60.0    # s; a loaded machine imports torch in ten
STOP_TIMEOUT = 30.0
DOMAIN_PORT = 32768
PARENT = 'PYPOSE_ROS_PARENT'
"""Environment variable of children: the process that they live for. Where it dies without a word, they end."""
_PROFILE = Path(__file__).parent / 'bag' / 'templates' / 'fastdds_loopback.xml'


@contextmanager
def reserved_domain(candidates: Iterable[int] | None = None) -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other run of ours on this machine uses.

    Reserved as ROS's domain_coordinator does it: whoever holds the TCP port 32768 + id.

    Args:
        candidates: ids in the order in which they are tried; by default all, in an order that differs from run to run
            (drawn outside numpy's and the flight's generators).
    """
    for domain in random.SystemRandom().sample(range(1, 102), 101) if candidates is None else candidates:
        with socket.socket() as reservation:
            try:
                reservation.bind(('', DOMAIN_PORT + domain))
            except OSError:
                continue
            yield domain
            return
    raise RunError('no ROS_DOMAIN_ID is free')


@contextmanager
def private_environment(work: Path) -> Iterator[dict[str, str]]:
    """This process's environment with a domain that is the run's own while this lasts, on loopback."""
    with reserved_domain() as domain:
        yield _environment(work, domain)


def _environment(work: Path, domain: int) -> dict[str, str]:
    environment = dict(os.environ)
    environment.setdefault('AMENT_PREFIX_PATH', sys.prefix)
    environment['ROS_DOMAIN_ID'] = str(domain)
    environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):    # Jazzy, Kilted
        environment[name] = str(_PROFILE)
    environment['ROS_LOG_DIR'] = str(work / 'log')
    environment['PYTHONUNBUFFERED'] = '1'
    return environment


class Child:
    """A child whose stdout is read line by line and whose stderr is kept for its last words."""

    def __init__(self, name: str, command: list, environment: dict[str, str], work: Path):
        self.name = name
        self._errors = work / f'{name}.log'
        with self._errors.open('wb') as errors:
            self._child = subprocess.Popen(
                [str(part) for part in command], env=environment | {PARENT: str(os.getpid())}, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
        assert self._child.stdin is not None and self._child.stdout is not None     # pipes, both
        self._stdin, self._stdout = self._child.stdin, self._child.stdout

    def check(self) -> None:
        """RunError if it has died."""
        if self._child.poll() is not None:
            self._fail()

    def _fail(self) -> None:
        words = [line for line in self._errors.read_text(errors='replace').splitlines() if line.strip()]
        raise RunError(f'the {self.name} ended with code {self._child.returncode}'
                       + (f': {words[-1][:300]}' if words else ''))

    def complaints(self) -> list[str]:
        """The warnings and errors of its log so far, without their times."""
        lines = self._errors.read_text(errors='replace').splitlines()
        found = (re.match(r'\[(WARN|ERROR|FATAL)\] \[[\d.]+\] \[[^]]*\]: (.*)', line) for line in lines)
        return [f'{match[1].lower()}: {match[2]}' for match in found if match]

    def wait_for_line(self, wanted: str, others: list['Child']) -> None:
        """Wait until it says so; RunError if any of the others dies meanwhile, or after START_TIMEOUT."""
        heard = threading.Event()

        def listen() -> None:
            for line in self._stdout:
                if line.strip() == wanted:
                    break
            heard.set()

        threading.Thread(target=listen, daemon=True).start()
        deadline = time.monotonic() + START_TIMEOUT
        while not heard.wait(0.1):
            for process in others:
                process.check()
            if time.monotonic() > deadline:
                raise RunError(f'the {self.name} was not ready after {START_TIMEOUT:g} s')
        self.check()

    def lines(self) -> Iterator[str]:
        """What it says from here to its end."""
        yield from (line.strip() for line in self._stdout)

    def tell(self) -> None:
        """Let it go on."""
        self._stdin.write('\n')
        self._stdin.flush()

    def finish(self) -> None:
        """Wait for its end; RunError unless it ended well."""
        try:
            self._child.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise RunError(f'the {self.name} did not end within {STOP_TIMEOUT:g} s') from None
        if self._child.returncode:
            self._fail()

    def terminate(self) -> None:
        """Ask it to end by SIGTERM; it must do so with code 0."""
        self._child.terminate()
        self.finish()

    def kill(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        for pipe in (self._stdin, self._stdout):
            pipe.close()

    def cpu_seconds(self) -> float:
        """User and system time of the process so far (Linux)."""
        try:
            text = Path(f'/proc/{self._child.pid}/stat').read_text()
        except OSError:
            return float('nan')
        user, system = text.rpartition(')')[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')


class _DeferredInterrupt:
    """Keeps SIGINT until release(): an interrupt while a child is being started would leave it without an owner."""

    def __init__(self) -> None:
        self._came: list[tuple] = []
        found = signal.getsignal(signal.SIGINT)
        # Elsewhere than in the main thread no handler can be set, and none runs.
        main = threading.current_thread() is threading.main_thread()
        self._handler = None if found is None or isinstance(found, int) or not main else found
        if self._handler is not None:
            signal.signal(signal.SIGINT, lambda *arguments: self._came.append(arguments))

    def release(self) -> None:
        """The handler is what it was, and has what came meanwhile."""
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            for arguments in self._came[:1]:
                self._handler(*arguments)


@contextmanager
def process(name: str, command: list, environment: dict[str, str], work: Path) -> Iterator[Child]:
    interrupt = _DeferredInterrupt()
    try:
        child = Child(name, command, environment, work)
    except BaseException:
        interrupt.release()
        raise
    try:
        interrupt.release()
        yield child
    finally:
        child.kill()


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder for the files of one run."""
    with tempfile.TemporaryDirectory(prefix='pypose-ros-') as folder:
        yield Path(folder)
