"""Pure pursuit: steer along the circle through a point ahead on the path."""
from __future__ import annotations

import torch
from torch import Tensor


class PurePursuit:
    """The turn rate that leads a unicycle to the path.

        w = v κ,  κ = 2 y / L²

    with y the lateral offset of the point that lies the lookahead L ahead on the path, in the body frame.

    Args:
        lookahead: seconds of travel to the point; L = max(lookahead v, shortest).
        shortest: metres.

    Source: Coulter, Implementation of the pure pursuit path tracking algorithm, CMU-RI-TR-92-01.
    """

    def __init__(self, lookahead: float = 1.0, shortest: float = 0.3):
        if not (lookahead >= 0 and shortest > 0):
            raise ValueError(f'lookahead must be >= 0 and shortest > 0, got {lookahead} and {shortest}')
        self.lookahead, self.shortest = lookahead, shortest

    def __call__(self, pose: Tensor, path: Tensor, speed: float) -> Tensor:
        """The input [v, w] (2,).

        Args:
            pose: (3,) x, y in metres, heading in radians, in the frame of the path.
            path: (N, 2), N >= 2, points in driving order.
            speed: v >= 0 in m/s.
        """
        if path.dim() != 2 or path.shape[0] < 2 or path.shape[1] != 2:
            raise ValueError(f'the path must be (N, 2) with N >= 2, got {tuple(path.shape)}')
        target = self.target(pose[:2], path, max(self.lookahead * speed, self.shortest))
        d = target - pose[:2]
        lateral = pose[2].cos() * d[1] - pose[2].sin() * d[0]
        squared = d.dot(d).clamp_min(1e-12)
        v = torch.as_tensor(speed, dtype=pose.dtype, device=pose.device)
        return torch.stack([v, v * 2 * lateral / squared])

    @staticmethod
    def target(position: Tensor, path: Tensor, distance: float) -> Tensor:
        """The point of the path `distance` ahead of its nearest point to `position`; the end where it is shorter."""
        start, segment = path[:-1], path[1:] - path[:-1]
        length = segment.norm(dim=-1)
        squared = (length * length).clamp_min(1e-12)
        fraction = (((position - start) * segment).sum(-1) / squared).clamp(0, 1)
        nearest = start + fraction[:, None] * segment
        best = int((nearest - position).norm(dim=-1).argmin())
        travelled = torch.cat([length.new_zeros(1), length.cumsum(0)])
        s = travelled[best] + fraction[best] * length[best] + distance
        i = int(torch.searchsorted(travelled, s.clamp(max=travelled[-1])).clamp(1, len(length))) - 1
        return start[i] + ((s - travelled[i]) / length[i].clamp_min(1e-12)).clamp(0, 1) * segment[i]
