"""Camera models: pinhole with radial-tangential distortion, and fisheye."""
from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

ITERATIONS = 12


class Camera(ABC):
    """A central camera: points in its frame (z ahead) to pixels, and pixels to rays.

    Args:
        intrinsics: (..., 4): fx, fy, cx, cy in pixels, or a matrix K (..., 3, 3) without skew.
        distortion: (..., k), the model's coefficients; default none.

    All parameters may require gradients.
    """

    coefficients: int

    def __init__(self, intrinsics: Tensor, distortion: Tensor | None = None):
        if intrinsics.shape[-2:] == (3, 3):
            intrinsics = torch.stack([intrinsics[..., i, j] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))], -1)
        if intrinsics.shape[-1:] != (4,):
            raise ValueError(f'intrinsics must be (..., 4) or (..., 3, 3), got {tuple(intrinsics.shape)}')
        if distortion is not None and distortion.shape[-1:] != (self.coefficients,):
            raise ValueError(f'{type(self).__name__} has {self.coefficients} coefficients, got '
                             f'{tuple(distortion.shape)}')
        self.intrinsics, self.distortion = intrinsics, distortion

    @abstractmethod
    def distort(self, p: Tensor) -> Tensor:
        """From the plane z = 1 (..., N, 2) to the distorted plane (..., N, 2)."""

    def _scaled(self, p: Tensor) -> Tensor:
        f, c = self.intrinsics[..., None, :2], self.intrinsics[..., None, 2:]
        return p * f + c

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (..., N, 2) of points (..., N, 3), and which lie before the camera (..., N)."""
        z = points[..., 2:]
        ahead = z > 1e-9
        return self._scaled(self.distort(points[..., :2] / torch.where(ahead, z, torch.ones_like(z)))), ahead[..., 0]

    def unproject(self, pixels: Tensor) -> Tensor:
        """Rays (..., N, 3) with z = 1 of pixels (..., N, 2).

        The distortion is inverted by Newton's method; the gradient is that of the solution.
        """
        f, c = self.intrinsics[..., None, :2], self.intrinsics[..., None, 2:]
        wanted = (pixels - c) / f
        if self.distortion is None:
            return torch.cat([wanted, torch.ones_like(wanted[..., :1])], -1)
        p = self._start(wanted).detach()
        target = wanted.detach()
        for _ in range(ITERATIONS):
            value, J = self._linearized(p)
            p = p - torch.linalg.solve(J, (value - target).unsqueeze(-1)).squeeze(-1)
        # One more step with the graph: its derivative is the implicit function theorem's.
        _, J = self._linearized(p)
        p = p - torch.linalg.solve(J, (self.distort(p) - wanted).unsqueeze(-1)).squeeze(-1)
        return torch.cat([p, torch.ones_like(p[..., :1])], -1)

    def _start(self, wanted: Tensor) -> Tensor:
        return wanted

    def _linearized(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """distort(p) and its Jacobian (..., N, 2, 2), without a graph."""
        with torch.enable_grad():
            p = p.detach().requires_grad_()
            value = self.distort(p)
            rows = [torch.autograd.grad(value[..., i].sum(), p, retain_graph=True)[0] for i in range(2)]
        return value.detach(), torch.stack(rows, -2)


class Pinhole(Camera):
    """Radial and tangential distortion k1, k2, p1, p2, k3, as in OpenCV and Kalibr's `radtan` (k3 = 0 there).

        p' = p (1 + k₁ r² + k₂ r⁴ + k₃ r⁶) + [2 p₁ x y + p₂ (r² + 2 x²), p₁ (r² + 2 y²) + 2 p₂ x y]

    Source: Brown, Decentering distortion of lenses, 1966.
    """

    coefficients = 5

    def distort(self, p: Tensor) -> Tensor:
        """From the plane z = 1 to the distorted plane."""
        if self.distortion is None:
            return p
        k1, k2, p1, p2, k3 = self.distortion.unsqueeze(-2).unbind(-1)
        x, y = p.unbind(-1)
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        return torch.stack([x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], -1)


class Fisheye(Camera):
    """The equidistant model with k1 .. k4, as in OpenCV's fisheye and Kalibr's `equidistant`.

        p' = p θ_d / r,  θ = atan(r),  θ_d = θ (1 + k₁ θ² + k₂ θ⁴ + k₃ θ⁶ + k₄ θ⁸)

    Points to the side and behind are projected too: θ is taken from the direction.

    Source: Kannala and Brandt, A generic camera model and calibration method, PAMI 2006.
    """

    coefficients = 4

    def _polynomial(self, theta: Tensor) -> Tensor:
        if self.distortion is None:
            return theta
        t2 = theta * theta
        k1, k2, k3, k4 = self.distortion.unsqueeze(-2).unbind(-1)
        return theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))

    def _from_ray(self, xy: Tensor, z: Tensor) -> Tensor:
        square = xy.square().sum(-1)
        small = square < 1e-16
        r = torch.where(small, torch.ones_like(square), square).sqrt()
        theta = torch.atan2(r, z)
        return torch.where(small.unsqueeze(-1), xy / z.unsqueeze(-1), xy * (self._polynomial(theta) / r).unsqueeze(-1))

    def distort(self, p: Tensor) -> Tensor:
        """From the plane z = 1 to the distorted plane."""
        return self._from_ray(p, torch.ones_like(p[..., 0]))

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (..., N, 2) of points (..., N, 3), and which lie before the camera (..., N)."""
        return self._scaled(self._from_ray(points[..., :2], points[..., 2])), points[..., 2] > 1e-9

    def unproject(self, pixels: Tensor) -> Tensor:
        """Unit rays (..., N, 3) of pixels (..., N, 2), the angle by Newton's method; differentiable."""
        f, c = self.intrinsics[..., None, :2], self.intrinsics[..., None, 2:]
        wanted = (pixels - c) / f
        square = wanted.square().sum(-1)
        small = square < 1e-16
        theta_d = torch.where(small, torch.ones_like(square), square).sqrt()
        theta = theta_d.detach().clamp_max(3.0)
        for step in range(ITERATIONS + 1):
            with torch.enable_grad():
                at = theta.detach().requires_grad_()
                slope, = torch.autograd.grad(self._polynomial(at).sum(), at)
            last = step == ITERATIONS     # with the graph
            theta = at.detach() - (self._polynomial(at.detach()) - (theta_d if last else theta_d.detach())) / slope
        scale = torch.where(small, torch.ones_like(theta), theta.sin() / theta_d)
        z = torch.where(small, torch.ones_like(theta), theta.cos())
        return torch.cat([wanted * scale.unsqueeze(-1), z.unsqueeze(-1)], -1)
