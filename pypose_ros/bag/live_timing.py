"""What only a live run has: latencies, loss and the node's use of the CPU."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LiveTiming:
    """Latency of each output, ms, from the publication of its IMU sample: until the node published it, and
    until a subscriber had received it. CPU seconds of the node and wall seconds while playing. `withheld` is
    the share of the machine's CPU time that its host gave to others meanwhile: in a virtual machine it decides
    about the longest latencies, whatever the node does."""

    output_ms: NDArray[np.float64]
    received_ms: NDArray[np.float64]
    expected: int
    lost: int
    node_cpu: float
    wall: float
    withheld: float

    def as_dict(self, samples: int) -> dict:
        def quantile(values, q):
            return float(np.quantile(values, q)) if len(values) else None

        return {
            'latency_ms': {'p50': quantile(self.output_ms, 0.5), 'p99': quantile(self.output_ms, 0.99),
                           'max': quantile(self.output_ms, 1.0),
                           'received_p50': quantile(self.received_ms, 0.5),
                           'received_p99': quantile(self.received_ms, 0.99),
                           'received_max': quantile(self.received_ms, 1.0)},
            'expected': self.expected, 'lost': self.lost,
            'node_cpu_s': self.node_cpu, 'wall_s': self.wall,
            'node_cpu_share': self.node_cpu / self.wall if self.wall > 0 else 0.0,
            'node_cpu_us_per_sample': 1e6 * self.node_cpu / max(samples, 1),
            'cpu_withheld_share': self.withheld,
        }


class CpuAccount:
    """What happened to the machine's CPU time since this was made (Linux; elsewhere nothing is known)."""

    def __init__(self):
        self._since = self._read()

    @staticmethod
    def _read() -> NDArray[np.float64]:
        """Jiffies of all cores: user, nice, system, idle, iowait, irq, softirq, steal (proc(5))."""
        try:
            words = Path('/proc/stat').read_text().split('\n', 1)[0].split()[1:9]
        except OSError:
            return np.zeros(8)
        return np.array(words, np.float64)

    def withheld(self) -> float:
        """Share of it that the host of a virtual machine gave to others ("steal")."""
        spent = self._read() - self._since
        return float(spent[7] / spent.sum()) if spent.sum() else 0.0
