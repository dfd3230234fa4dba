"""What a node has only while it is configured."""
from __future__ import annotations

from typing import Generic, TypeVar, overload

T = TypeVar('T')


class Configured(Generic[T]):
    """An attribute that is there from `configure` to `cleanup`; None is written to it to say that it is gone.

        class Node(LifecycleNode[Params]):
            planner = Configured[PathPlanner]()

    Raises:
        AttributeError: it is read while it is not there.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, node: None, owner: type) -> Configured[T]: ...
    @overload
    def __get__(self, node: object, owner: type) -> T: ...

    def __get__(self, node: object | None, owner: type) -> T | Configured[T]:
        if node is None:
            return self
        value = node.__dict__.get(self._name)
        if value is None:
            raise AttributeError(f'{owner.__name__}.{self._name} is there only while the node is configured')
        return value

    def __set__(self, node: object, value: T | None) -> None:
        node.__dict__[self._name] = value

    def present(self, node: object) -> bool:
        """Whether it is there: `type(node).planner.present(node)`."""
        return node.__dict__.get(self._name) is not None
