"""The weights of a learner on disk: one file for each promoted version, and what is needed to go on after a crash."""
import json
import os
from dataclasses import replace
from pathlib import Path

from pypose_core.learning import (
    Checkpoint,
    CheckpointError,
    FrontEnd,
    ImuCorrector,
    Metadata,
    load_checkpoint,
    save_checkpoint,
)
from pypose_core.learning.checkpoint import write_atomically


class WeightStore:
    """A folder: weights_v<n>.pt, candidate.pt, training.pt, and versions.json, which is written last.

    Args:
        folder: made where it does not exist.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).expanduser()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.versions: list[int] = []
        """Promoted versions, the one in use last; a version that was rolled back is not among them."""
        self._last = 0
        path = self.folder / 'versions.json'
        if path.exists():
            content = json.loads(path.read_text())
            self.versions, self._last = content['versions'], content['last']

    @property
    def training(self) -> Path:
        return self.folder / 'training.pt'

    @property
    def candidate(self) -> Path:
        return self.folder / 'candidate.pt'

    def path(self, version: int) -> Path:
        return self.folder / f'weights_v{version}.pt'

    @property
    def in_use(self) -> Path | None:
        return self.path(self.versions[-1]) if self.versions else None

    def load(self, path: Path) -> Checkpoint:
        return load_checkpoint(path, kind='imu_corrector')

    def offer(self, front_end: FrontEnd, metadata: Metadata) -> Checkpoint:
        """Write a candidate with the next version's number, and read it: what is judged is the file."""
        save_checkpoint(self.candidate, front_end, replace(metadata, version=self._last + 1))
        return self.load(self.candidate)

    def promote(self, sha256: str) -> Path:
        """Make the candidate of this hash the version in use.

        Raises:
            CheckpointError: the file is not what was judged.
        """
        checkpoint = load_checkpoint(self.candidate, sha256=sha256)
        version = checkpoint.metadata.version
        write_atomically(self.path(version), self.candidate.read_bytes())
        self._last = version
        self._write([*self.versions, version])
        return self.path(version)

    def roll_back(self) -> Path:
        """The version before is in use again.

        Raises:
            CheckpointError: there is none.
        """
        if len(self.versions) < 2:
            raise CheckpointError(f'{self.folder}: there is no version before')
        before = self.path(self.versions[-2])
        self.load(before)
        self._write(self.versions[:-1])
        return before

    def _write(self, versions: list[int]) -> None:
        write_atomically(self.folder / 'versions.json',
                         json.dumps({'versions': versions, 'last': self._last}).encode())
        self.versions = versions
        # The folder's own entry, so that a file which was renamed stays so.
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def corrector_of(checkpoint: Checkpoint) -> ImuCorrector:
    """The front-end of a file that was read as an imu_corrector."""
    assert isinstance(checkpoint.front_end, ImuCorrector)
    return checkpoint.front_end
