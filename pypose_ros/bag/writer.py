"""Writing of ROS 2 bags that appear whole or not at all."""
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import StoragePlugin, Writer

from .errors import BagError
from .types import typestore


class BagWriter:
    """Writes `OUT.mcap` (one file) or, for another name, a folder with metadata.yaml.

    It writes beside the target and renames at the end; after an exception nothing is left. An
    existing target is refused unless `overwrite` is set, and then replaced only at the end.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False):
        self.path = Path(path)
        self._overwrite = overwrite
        self._connections: dict[str, Any] = {}
        self._types = typestore()

    def __enter__(self) -> 'BagWriter':
        if self.path.exists() and not self._overwrite:
            raise BagError(f'{self.path}: exists already, not overwriting it')
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._beside = Path(tempfile.mkdtemp(prefix=f'.{self.path.name}.', dir=self.path.parent))
        except OSError as error:
            raise BagError(f'{self.path}: cannot be written there: {error.strerror}') from None
        self._writer = Writer(self._beside / self.path.stem, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        return self

    def write(self, topic: str, log_ns: int, message: Any) -> None:
        """Write a message object (see `typestore`); its type is the topic's from the first one on."""
        self.write_raw(topic, message.__msgtype__, log_ns,
                       self._types.serialize_cdr(message, message.__msgtype__))

    def write_raw(self, topic: str, msgtype: str, log_ns: int, raw: bytes | memoryview) -> None:
        """Write a message that is serialized already (CDR)."""
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(topic, msgtype, typestore=self._types)
            self._connections[topic] = connection
        self._writer.write(connection, log_ns, raw)

    def __exit__(self, kind, *_) -> None:
        try:
            if kind is not None:
                self._writer.abort()
                return
            self._writer.close()
            folder = self._beside / self.path.stem
            written = next(folder.glob('*.mcap')) if self.path.suffix == '.mcap' else folder
            if self.path.is_dir():
                shutil.rmtree(self.path)
            os.replace(written, self.path)
        finally:
            shutil.rmtree(self._beside, ignore_errors=True)
