"""Latitude, longitude and height as metres east, north and up of a datum (WGS 84)."""
import numpy as np
from numpy.typing import NDArray

SEMI_MAJOR = 6378137.0
FLATTENING = 1 / 298.257223563
ECCENTRICITY2 = FLATTENING * (2 - FLATTENING)


def ecef(latitude: float, longitude: float, height: float) -> NDArray[np.float64]:
    """(3,) m, earth-centred and earth-fixed; degrees and metres above the ellipsoid."""
    phi, lam = np.radians(latitude), np.radians(longitude)
    normal = SEMI_MAJOR / np.sqrt(1 - ECCENTRICITY2 * np.sin(phi) ** 2)
    return np.array([(normal + height) * np.cos(phi) * np.cos(lam), (normal + height) * np.cos(phi) * np.sin(lam),
                     (normal * (1 - ECCENTRICITY2) + height) * np.sin(phi)])


class LocalFrame:
    """East, north, up at a datum, as REP-103 has it for geographic frames.

    Args:
        latitude, longitude: degrees.
        height: m above the ellipsoid.
    """

    def __init__(self, latitude: float, longitude: float, height: float):
        self.datum = float(latitude), float(longitude), float(height)
        phi, lam = np.radians(latitude), np.radians(longitude)
        self._origin = ecef(latitude, longitude, height)
        self._R_enu_ecef = np.array([
            [-np.sin(lam), np.cos(lam), 0.0],
            [-np.sin(phi) * np.cos(lam), -np.sin(phi) * np.sin(lam), np.cos(phi)],
            [np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)]])

    def __call__(self, latitude: float, longitude: float, height: float) -> NDArray[np.float64]:
        """(3,) m east, north, up of the datum."""
        return self._R_enu_ecef @ (ecef(latitude, longitude, height) - self._origin)
