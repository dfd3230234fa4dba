"""Consistency: is the estimated covariance as large as the errors are?"""
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pypose_core import chi_square


@dataclass(frozen=True)
class Nees:
    """Normalized estimation error squared of N samples of dimension d.

    `mean` is about d for a consistent estimator; above the band it is too sure of itself, below it
    too careful. The band of the mean rests on `independent` samples: errors a few milliseconds
    apart are nearly the same error.
    """

    values: NDArray[np.float64]
    dof: int
    mean: float
    independent: float
    band: tuple[float, float]
    sample_band: tuple[float, float]
    inside: float

    @property
    def consistent(self) -> bool:
        """Whether the mean lies within the band."""
        return self.band[0] <= self.mean <= self.band[1]


def nees(errors: NDArray, covariances: NDArray, *, confidence: float = 0.95,
         independent: float | None = None) -> Nees:
    """e' P^-1 e of each sample, its mean and the chi-square bands.

    For N independent samples, N * mean ~ chi2(N d), so the mean lies in
    [chi2.ppf(a/2, N d), chi2.ppf(1 - a/2, N d)] / N with a = 1 - confidence.

    Args:
        errors: (N, d) estimate minus truth, in the tangent and the frame of the covariance.
        covariances: (N, d, d), symmetric positive definite.
        independent: number of independent samples; by default estimated by `effective_samples`.

    Returns:
        `inside`: the share of samples within `sample_band`, the band of a single one.

    Raises:
        ValueError: a covariance is not positive definite (the first one is named).

    Source: Bar-Shalom, Li, Kirubarajan, "Estimation with applications to tracking and navigation", 5.4.2.
    """
    errors, covariances = np.asarray(errors, dtype=float), np.asarray(covariances, dtype=float)
    count, dof = errors.shape
    if count == 0 or covariances.shape != (count, dof, dof):
        raise ValueError(f'need errors (N, d) and covariances (N, d, d), got {errors.shape} and '
                         f'{covariances.shape}')
    smallest = np.linalg.eigvalsh(covariances)[:, 0]
    bad = np.flatnonzero(~(smallest > 0))
    if len(bad):
        raise ValueError(f'covariance {bad[0]} is not positive definite (eigenvalue {smallest[bad[0]]:.3g})')
    whitened = np.linalg.solve(np.linalg.cholesky(covariances), errors[..., None])[..., 0]
    values = (whitened ** 2).sum(axis=1)
    independent = effective_samples(whitened) if independent is None else float(independent)
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    band = chi_square.quantile(tails, independent * dof) / independent
    sample_band = chi_square.quantile(tails, dof)
    inside = float(((values >= sample_band[0]) & (values <= sample_band[1])).mean())
    return Nees(values, dof, float(values.mean()), independent, tuple(band.tolist()),
                tuple(sample_band.tolist()), inside)


def effective_samples(whitened: NDArray) -> float:
    """How many independent samples the mean of |z_i|^2 rests on, for correlated errors z of zero mean.

    For Gaussian errors the mean over N samples varies as if there were
    N d / sum_kl sum_lag rho_kl(lag)^2 (1 - |lag| / N) independent ones, rho_kl being the correlation of component
    k with component l. Each is estimated about the known mean zero. The sum over a component's own lags ends
    where neighbouring pairs stop being positive. Unrelated components correlate by chance, so the number errs
    to the low side (the band to the wide one): 98 % of consistent runs lie in a 95 % band.

    Args:
        whitened: (N, d), L^-1 e with L L' = P.

    Source: Bartlett's formula for the variance of a sample moment; the rule for the end of the sum is Geyer's,
    "Practical Markov chain Monte Carlo", Statistical Science 1992, 3.3.
    """
    whitened = np.asarray(whitened, dtype=float)
    count, dof = whitened.shape
    if count < 4:
        return 1.0
    size = 1 << (2 * count - 1).bit_length()
    power = np.sqrt((whitened ** 2).mean(axis=0))
    if not (power > 0).all():       # an exact component says nothing
        return 1.0
    spectrum = np.fft.rfft(whitened / power, size, axis=0)
    weight = 1 - np.arange(count) / count

    def squared(k: int, l: int, lags: int) -> float:
        """Sum over |lag| < lags of rho_kl^2, each weighed by how many products it rests on."""
        rho = np.fft.irfft(spectrum[:, k].conj() * spectrum[:, l], size) / count
        ahead = np.clip(rho[:lags] / weight[:lags], -1, 1) ** 2 * weight[:lags]
        behind = np.clip(rho[:-lags:-1] / weight[1:lags], -1, 1) ** 2 * weight[1:lags]
        return float(ahead.sum() + behind.sum())

    own, lags = np.empty(dof), np.empty(dof, dtype=int)
    for k in range(dof):
        rho = np.fft.irfft(np.abs(spectrum[:, k]) ** 2, size)[:count]
        end = np.flatnonzero((rho / weight)[:count // 2 * 2].reshape(-1, 2).sum(axis=1) <= 0)
        lags[k] = max(2 * int(end[0]), 1) if len(end) else count
        own[k] = squared(k, k, lags[k])
    total = own.sum()
    for k in range(dof):
        for l in range(k):
            total += 2 * squared(k, l, min(lags[k], lags[l]))
    return float(np.clip(count * dof / total, 1.0, count))
