"""Rauch-Tung-Striebel smoothing: each estimate given all measurements, also the later ones."""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pypose_core.filter.ekf import EKF
from pypose_core.filter.kalman import correct, gain
from pypose_core.lie.linalg import bmv


class Smoothed(NamedTuple):
    """Estimates at T steps."""

    x: Tensor
    """(T, ..., n)"""
    P: Tensor
    """Covariances (T, ..., n, n)."""


def rts(x: Tensor, P: Tensor, prior_x: Tensor, prior_P: Tensor, A: Tensor) -> Smoothed:
    """The backward pass over a filter's run.

        G_k = P_k A_kᵀ (P⁻_{k+1})⁻¹,  x̂_k = x_k + G_k (x̂_{k+1} - x⁻_{k+1}),  P̂_k = P_k + G_k (P̂_{k+1} - P⁻_{k+1}) G_kᵀ

    Args:
        x, P: filtered estimates (T, ..., n) and covariances (T, ..., n, n), k = 0 .. T-1.
        prior_x, prior_P: the predictions of the steps 1 .. T-1: (T-1, ..., n), (T-1, ..., n, n).
        A: Jacobians of the transitions from k to k+1: (T-1, ..., n, n).

    Source: Rauch, Tung and Striebel, Maximum likelihood estimates of linear dynamic systems, 1965.
    """
    if not len(x) == len(P) == len(prior_x) + 1 == len(prior_P) + 1 == len(A) + 1:
        raise ValueError('T estimates need T - 1 predictions, got '
                         f'{len(x)}, {len(P)} and {len(prior_x)}, {len(prior_P)}, {len(A)}')
    smooth_x, smooth_P = [x[-1]], [P[-1]]
    for k in reversed(range(len(A))):
        G = gain(P[k] @ A[k].mT, prior_P[k])
        smooth_x.append(x[k] + bmv(G, smooth_x[-1] - prior_x[k]))
        covariance = P[k] + G @ (smooth_P[-1] - prior_P[k]) @ G.mT
        smooth_P.append((covariance + covariance.mT) / 2)
    return Smoothed(torch.stack(smooth_x[::-1]), torch.stack(smooth_P[::-1]))


def smooth(ekf: EKF, x: Tensor, y: Tensor, u: Tensor, P: Tensor, Q: Tensor | None = None, R: Tensor | None = None,
           t: Tensor | None = None) -> tuple[Smoothed, Smoothed]:
    """Filter a sequence with an EKF, then smooth it.

    Args:
        x, P: estimate (..., n) and covariance (..., n, n) before the first measurement's step.
        y, u: measurements (T, ..., k) and inputs (T, ..., m).
        Q, R: covariances; default the filter's.
        t: times (T,); default the model's clock, standing still.

    Returns:
        the smoothed estimates at the T + 1 instants (before each step and after the last), and the filtered ones.
    """
    Q, R = ekf.Q if Q is None else Q, ekf.R if R is None else R
    xs, Ps = [x], [P]
    priors: list[Tensor] = []
    prior_Ps: list[Tensor] = []
    As: list[Tensor] = []
    for k in range(len(y)):
        prior, A, innovation, C = ekf.linearize(xs[-1], y[k], u[k], None if t is None else t[k])
        prior_P = A @ Ps[-1] @ A.mT + Q
        new_x, new_P, _ = correct(prior, prior_P, C, R, innovation)
        for found, z in zip((xs, Ps, priors, prior_Ps, As), (new_x, new_P, prior, prior_P, A)):
            found.append(z)
    filtered = Smoothed(torch.stack(xs), torch.stack(Ps))
    return rts(*filtered, torch.stack(priors), torch.stack(prior_Ps), torch.stack(As)), filtered
