"""Tables that the functions of an optimal control problem may read, and whose numbers change between solves."""
from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pypose_core import native
from pypose_core.control.expression import Node
from pypose_core.control.traced import Traced
from pypose_core.geometry.distance_field import DistanceField

HEADER = 8      # numbers before the values, see csrc/control/tape.h
# The operator itself: torch.ops takes longer to find it than it runs.
_lookup: Any = torch._C._jit_get_operation('pypose::lookup')[0] if native.available else None


class LookupTable:
    """d(x, y), bilinear between the centres of a grid's cells, as `geometry.DistanceField`: in the functions of an
    OCP it is evaluated natively, with its gradient, and `update` takes effect with the next solve.

        table = LookupTable(200 * 200)
        ocp = OCP(..., constraints=[StateConstraint('clearance', lambda x, p: table(x[..., 0], x[..., 1]).unsqueeze(-1),
                                                    lower=0.3)])
        table.update(field)

    Second derivatives count as zero: use Gauss-Newton Hessians. Not to be updated while a solve runs.

    Args:
        capacity: cells that it can hold.
    """

    def __init__(self, capacity: int):
        if capacity < 4:
            raise ValueError(f'a table holds at least 2 x 2 cells, the capacity is {capacity}')
        self.data = torch.zeros(HEADER + capacity, dtype=torch.float64)
        self.clear()

    def clear(self, value: float = 1e6) -> None:
        """The same value everywhere."""
        self.update(DistanceField(torch.full((2, 2), value, dtype=torch.float64), resolution=1.0))

    def update(self, field: DistanceField, *, pose: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        """Take over the values of a plane field.

        Args:
            pose: x, y, heading of the field's frame in the frame of the points.
        """
        values = field.values.detach()
        if values.dim() != 2 or values.numel() > len(self.data) - HEADER:
            raise ValueError(f'the field has {tuple(values.shape)} cells; the table takes a plane one of up to '
                             f'{len(self.data) - HEADER}')
        rows, columns = values.shape
        x, y, heading = pose
        c, s = math.cos(heading), math.sin(heading)
        ox, oy = field.origin.tolist()
        self.data[:HEADER] = torch.tensor(
            [columns, rows, 1 / field.resolution, x + c * ox - s * oy, y + s * ox + c * oy, c, s, 0.0],
            dtype=torch.float64)
        self.data[HEADER:HEADER + values.numel()] = values.double().reshape(-1)

    def at(self, points: NDArray) -> NDArray[np.float64]:
        """d (...) at points (..., 2)."""
        places = torch.from_numpy(np.ascontiguousarray(points, float))
        if _lookup is None:
            return self(places[..., 0], places[..., 1]).numpy()
        return _lookup(self.data, places).numpy()

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """d (...) at x, y (...) in metres."""
        if isinstance(x, Traced):
            node_x, node_y = x.elements.item(), y.elements.item()
            node = node_x if isinstance(node_x, Node) else node_y
            graph = node.graph
            args = [e.index if isinstance(e, Node) else graph.constant(e) for e in (node_x, node_y)]
            return Traced(Node(graph, graph.make('lookup', *args, graph.table(self))))
        columns, rows, scale, ox, oy, c, s, _ = self.data[:HEADER].tolist()
        values = self.data[HEADER:HEADER + int(rows * columns)].view(int(rows), int(columns))
        dx, dy = x - ox, y - oy
        return DistanceField(values, resolution=1 / scale)(torch.stack([c * dx + s * dy, c * dy - s * dx], -1))
