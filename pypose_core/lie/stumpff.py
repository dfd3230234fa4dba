"""Stumpff functions: the coefficients of every rotation group, smooth at zero to any order.

c_k(x) = sum_j (-x)^j / (2j + k)!,  x = θ²;  c_0 = cos θ, c_1 = sin θ / θ, c_2 = (1 - cos θ)/θ², ...

Both branches are ordinary torch operations, so that derivatives of any order, functorch transforms,
compilation and export need no rule of their own.
"""
import math

import torch
from torch import Tensor

#: Below this x the series is used; above it the closed form loses less than two bits even in c_7.
SWITCH = 1.0
#: Terms of a series that still change the third derivative at x = SWITCH, per dtype.
TERMS = {torch.float64: 12, torch.float32: 8, torch.float16: 6, torch.bfloat16: 6}


def _series(k: int, x: Tensor) -> Tensor:
    """c_k(x) for x <= SWITCH by Horner's rule."""
    n = TERMS[x.dtype]
    total = torch.full_like(x, 1 / math.factorial(2 * n + k))
    for j in range(n - 1, -1, -1):
        total = 1 / math.factorial(2 * j + k) - x * total
    return total


def stumpff(x: Tensor, top: int) -> list[Tensor]:
    """[c_0(x), ..., c_top(x)] for x >= 0, of any shape; top >= 1.

    Small x: the two highest by series, the others by c_k = 1/k! - x c_{k+2}.  Large x: c_0 and c_1 in
    closed form, the others by the same recurrence upwards.
    """
    small = x <= SWITCH
    # Each branch sees only arguments at which it and all its derivatives are finite.
    near = torch.where(small, x, torch.zeros_like(x))
    far = torch.where(small, torch.full_like(x, SWITCH), x)

    low = [near] * (top + 1)
    low[top], low[top - 1] = _series(top, near), _series(top - 1, near)
    for k in range(top - 2, -1, -1):
        low[k] = 1 / math.factorial(k) - near * low[k + 2]

    theta = far.sqrt()
    high = [theta.cos(), theta.sin() / theta]
    for k in range(2, top + 1):
        high.append((1 / math.factorial(k - 2) - high[k - 2]) / far)
    return [torch.where(small, a, b) for a, b in zip(low, high)]


def atan_ratio(n2: Tensor, w: Tensor) -> Tensor:
    """atan2(n, w)/n for n² = n2 >= 0 and w >= 0 (not both 0), smooth in n2 at 0.

    With t = n²/w² small: (1 - t/3 + t²/5 - ...)/w.
    """
    small = n2 <= 0.04 * w * w
    one = torch.ones_like(w)
    w_near = torch.where(small, w, one)
    t = torch.where(small, n2, torch.zeros_like(n2)) / (w_near * w_near)
    terms = 2 * TERMS[w.dtype] - 7
    total = torch.full_like(t, 1 / (2 * terms + 1))
    for j in range(terms - 1, -1, -1):
        total = 1 / (2 * j + 1) - t * total
    n = torch.where(small, one, n2).sqrt()
    return torch.where(small, total / w_near, torch.atan2(n, torch.where(small, one, w)) / n)
