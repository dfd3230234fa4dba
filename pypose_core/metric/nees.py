"""Consistency: is the estimated covariance as large as the errors are?"""
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2


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
    values = (errors * np.linalg.solve(covariances, errors[..., None])[..., 0]).sum(axis=1)
    independent = effective_samples(values) if independent is None else float(independent)
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    band = chi2.ppf(tails, independent * dof) / independent
    sample_band = chi2.ppf(tails, dof)
    inside = float(((values >= sample_band[0]) & (values <= sample_band[1])).mean())
    return Nees(values, dof, float(values.mean()), independent, tuple(band.tolist()),
                tuple(sample_band.tolist()), inside)


def effective_samples(series: NDArray) -> float:
    """How many independent samples a correlated series of N is worth, at least 1.

    N / (1 + 2 sum of the autocorrelations), summed while those of neighbouring pairs of lags stay
    positive. Source: Geyer, "Practical Markov chain Monte Carlo", Statistical Science 1992, 3.3.
    """
    series = np.asarray(series, dtype=float)
    centred = series - series.mean()
    count = len(centred)
    if count < 4 or not (centred ** 2).sum() > 0:
        return 1.0
    size = 1 << (2 * count - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    correlation = np.fft.irfft(spectrum * spectrum.conj(), size)[:count]
    correlation /= correlation[0]
    pairs = correlation[:count // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    positive = pairs[:negative[0]] if len(negative) else pairs
    return float(np.clip(count / max(2 * positive.sum() - 1, 1e-12), 1.0, count))
