"""What waits to be told to whoever asks."""
from typing import Generic, TypeVar

T = TypeVar('T')
CAPACITY = 1000


class News(Generic[T]):
    """A list that is handed over when asked for, and takes no more where nobody asks."""

    def __init__(self):
        self._items: list[T] = []

    def add(self, item: T) -> None:
        if len(self._items) < CAPACITY:
            self._items.append(item)

    def take(self) -> list[T]:
        items, self._items = self._items, []
        return items
