"""Reading of bags: ROS 2 (sqlite3, mcap; file or folder) and ROS 1, with one kind of error."""
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection

from .errors import BagError
from .types import typestore

# What a file must begin with, by the name that the reader goes by.
_MAGIC = {'.bag': b'#ROSBAG V2.0', '.mcap': b'\x89MCAP0\r\n', '.db3': b'SQLite format 3\x00'}
BAGS = tuple(_MAGIC)
"""How the name of a bag ends that is one file."""


@dataclass(frozen=True)
class Topic:
    """One topic of a bag."""

    name: str
    msgtype: str
    count: int


@dataclass(frozen=True)
class Message:
    """One message as recorded: still serialized, with the time at which it was recorded."""

    topic: str
    msgtype: str
    log_ns: int
    raw: bytes


class BagReader:
    """A bag, open for reading: `with BagReader(path) as bag: for message in bag.messages(): ...`.

    Every fault of the bag, at opening or in the middle of it, is a `BagError` of one line.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._opened: AnyReader | None = None
        self._stamped: dict[str, bool] = {}

    def __enter__(self) -> 'BagReader':
        self._check_kind()
        with self._faults():
            reader = AnyReader([self.path], default_typestore=typestore())
            reader.open()
        self._opened = reader
        return self

    def __exit__(self, *_) -> None:
        reader, self._opened = self._reader, None
        reader.close()

    @property
    def _reader(self) -> AnyReader:
        if self._opened is None:
            raise BagError(f'{self.path}: not open: with BagReader(path) as bag: ...')
        return self._opened

    @property
    def topics(self) -> list[Topic]:
        """All topics, by name."""
        topics: dict[str, Topic] = {}
        for connection in self._reader.connections:
            before = topics.get(connection.topic)
            if before and before.msgtype != connection.msgtype:
                raise BagError(f'{self.path}: topic {connection.topic} has two types, {before.msgtype} and '
                               f'{connection.msgtype}')
            count = connection.msgcount + (before.count if before else 0)
            topics[connection.topic] = Topic(connection.topic, connection.msgtype, count)
        return [topics[name] for name in sorted(topics)]

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """Messages of the topics (of all, where None) in the order of recording."""
        wanted: list[Connection] = [
            c for c in self._reader.connections if topics is None or c.topic in topics]
        if not wanted:
            return
        count = 0
        with self._faults():
            for connection, log_ns, raw in self._reader.messages(connections=wanted):
                count += 1
                yield Message(connection.topic, connection.msgtype, log_ns, raw)
        expected = sum(connection.msgcount for connection in wanted)
        if count < expected:
            raise BagError(f'{self.path}: cut short: it holds {count} of the {expected} messages it '
                           'announces')

    def decode(self, message: Message) -> Any:
        """The message as an object with the fields of its type (ROS 1 and ROS 2 alike)."""
        with self._faults():
            return self._reader.deserialize(message.raw, message.msgtype)

    def cdr(self, message: Message) -> bytes:
        """The message as ROS 2 serializes it; a ROS 1 message is converted."""
        if self._reader.is2:
            return bytes(message.raw)
        with self._faults():
            return bytes(typestore().serialize_cdr(self.decode(message), message.msgtype))

    def stamp_ns(self, message: Message) -> int | None:
        """The header's stamp without decoding the rest; None for a type without a header."""
        if message.msgtype not in self._stamped:
            fields = self._reader.typestore.fielddefs[message.msgtype][1]
            self._stamped[message.msgtype] = bool(fields) and fields[0][1][1] == 'std_msgs/msg/Header'
        if not self._stamped[message.msgtype]:
            return None
        # CDR: 4 bytes of encapsulation (their second says the byte order); ROS 1: a sequence number.
        order = '<' if not self._reader.is2 or message.raw[1] & 1 else '>'
        with self._faults():
            seconds, nanoseconds = struct.unpack_from(order + 'iI', message.raw, 4)
        return seconds * 10 ** 9 + nanoseconds

    @contextmanager
    def _faults(self) -> Iterator[None]:
        # A damaged bag surfaces in the reader as any exception whatever (struct.error, KeyError,
        # AssertionError, sqlite's, zstd's): here is the boundary at which all of them mean the same.
        try:
            yield
        except (BagError, GeneratorExit, KeyboardInterrupt):
            raise
        except MemoryError:     # nearly always a length that was spoiled
            raise BagError(f'{self.path}: damaged: a record of it announces more than fits into memory') from None
        except PermissionError:
            raise BagError(f'{self.path}: not permitted to read it') from None
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise BagError(f'{self.path}: damaged or cut short: {reason[:200]}') from error

    def _check_kind(self) -> None:
        """Refuse with a clear reason what is no bag at all, before the reader guesses by the suffix."""
        path = self.path
        if not path.exists():
            raise BagError(f'{path}: no such file or folder')
        if path.is_dir():
            if not (path / 'metadata.yaml').is_file():
                raise BagError(f'{path}: not a ROS 2 bag folder: it has no metadata.yaml (give the .mcap or '
                               '.db3 '
                               'file itself, or restore it with `ros2 bag reindex`)')
            for file in path.glob('*.db3'):
                _check_whole_sqlite(file)
            return
        try:
            with path.open('rb') as opened:
                start = opened.read(16)
        except OSError as error:
            raise BagError(f'{path}: {error.strerror or error}') from None
        if not start:
            raise BagError(f'{path}: empty file')
        kind = next((suffix for suffix, magic in _MAGIC.items() if start.startswith(magic)), None)
        if kind is None:
            raise BagError(f'{path}: not a bag (neither ROS 1, mcap nor sqlite3 by its first bytes)')
        if kind == '.db3':
            _check_whole_sqlite(path)
        if path.suffix != kind:
            raise BagError(f'{path}: holds {kind[1:]} data; rename it to end in {kind}')


def _check_whole_sqlite(path: Path) -> None:
    """Refuse a file shorter than its header says: sqlite reads on until it needs what is missing."""
    with path.open('rb') as file:
        start = file.read(100)
    if len(start) == 100 and start[24:28] == start[92:96]:      # the page count is up to date
        page = int.from_bytes(start[16:18], 'big')
        expected = (65536 if page == 1 else page) * int.from_bytes(start[28:32], 'big')
        if path.stat().st_size < expected:
            raise BagError(f'{path}: cut short: {path.stat().st_size} of {expected} bytes')
