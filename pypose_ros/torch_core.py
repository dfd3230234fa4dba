"""What the nodes of one process share: the device, torch's threads, and channels that need no serialization."""
from collections import deque
from collections.abc import Callable

import torch

from pypose_ros.device import choose_device


class Channel:
    """Hands objects from one node to others of the same process, each in the thread of its own callbacks.

    The same facts go out as messages for everyone else. What is handed over must not be changed afterwards.
    """

    def __init__(self):
        self._listeners: list[Callable] = []
        self.offered = False
        """Whether a node of this process publishes here."""

    def subscribe(self, post: Callable[[Callable[[], None]], object], callback: Callable) -> Callable[[], None]:
        """Call `callback(item)` for each item; returns what undoes it.

        Args:
            post: runs a function in the listener's own thread.
        """
        return self._add(lambda item: post(lambda: callback(item)))

    def collect(self, box: deque) -> Callable[[], None]:
        """Lay each item into a box, which the listener looks into when it likes; returns what undoes it.

        Wakes nobody: where items are wanted less often than they come, that is most of what hand-over costs.
        """
        return self._add(box.append)

    def _add(self, listener: Callable) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    @property
    def heard(self) -> bool:
        return bool(self._listeners)

    def publish(self, item) -> None:
        for listener in self._listeners:
            listener(item)


class TorchCore:
    """One per process.

    Args:
        device: auto, cpu or cuda:0.
        num_threads: of torch's operators; the estimators' own kernels use one each.
    """

    def __init__(self, device: str = 'auto', num_threads: int = 1):
        self.device, self.problem = choose_device(device)
        torch.set_num_threads(num_threads)
        self._channels: dict[str, Channel] = {}

    def channel(self, topic: str) -> Channel:
        """The channel that goes beside a topic, by its resolved name."""
        return self._channels.setdefault(topic, Channel())
