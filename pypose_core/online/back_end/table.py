"""Columns of numbers that grow at the end: memory linear in what they hold, whatever the session's length."""
import numpy as np
from numpy.typing import NDArray


class Table:
    """Rows of named columns.

    Args:
        columns: dtype and shape of one row's entry, by name.
    """

    def __init__(self, **columns: tuple[type, tuple[int, ...]]):
        self._data: dict[str, NDArray] = {
            name: np.zeros((64, *shape), dtype) for name, (dtype, shape) in columns.items()}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, name: str) -> NDArray:
        """(N, ...) view of a column; writing to it changes the table. Do not keep it over an `append`."""
        return self._data[name][:self._count]

    def append(self, **values) -> int:
        """A new row; returns its number."""
        k = self._count
        for name, column in self._data.items():
            if k == len(column):
                grown = np.zeros((2 * k, *column.shape[1:]), column.dtype)
                grown[:k] = column
                self._data[name] = column = grown
            column[k] = values[name]
        self._count += 1
        return k

    def rows(self, begin: int, names: tuple[str, ...]) -> dict[str, NDArray]:
        """Copies of some columns from a row on: the table goes on growing while a worker reads."""
        return {name: self[name][begin:].copy() for name in names}

    def clear(self) -> None:
        self._count = 0
