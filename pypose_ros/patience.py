"""Messages that wait a moment for a transform."""
import time
from collections import deque
from collections.abc import Callable

PATIENCE_PERIOD = 0.05  # s between looks for the transforms that messages wait for
CAPACITY = 200      # messages that wait at once; a robot whose transform never comes must not fill the memory


class Patience:
    """Holds what could not be used yet and tries again, in order, until a time limit.

    Args:
        timeout: s of the steady clock that one attempt may wait.
    """

    def __init__(self, timeout: float):
        self._timeout = timeout
        self._waiting: deque[tuple[float, Callable[[], object], Callable[[LookupError], None]]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def attempt(self, use: Callable[[], object], give_up: Callable[[LookupError], None]) -> None:
        """Call `use` now; where it raises LookupError, again at each `retry`, and `give_up` in the end."""
        try:
            use()
        except LookupError as error:
            if not self._timeout or len(self._waiting) >= CAPACITY:
                give_up(error)
            else:
                self._waiting.append((time.monotonic() + self._timeout, use, give_up))

    def retry(self) -> None:
        """Try all that wait; drop those whose time is over."""
        for _ in range(len(self._waiting)):
            deadline, use, give_up = self._waiting.popleft()
            try:
                use()
            except LookupError as error:
                if time.monotonic() >= deadline:
                    give_up(error)
                else:
                    self._waiting.append((deadline, use, give_up))
