"""Laser scans and point clouds as points."""
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import LaserScan, PointCloud2, PointField

_TYPES = {PointField.FLOAT32: 'f4', PointField.FLOAT64: 'f8'}


def points_of_scan(message: LaserScan) -> NDArray[np.float64]:
    """(N, 3) of the valid beams, in the scan's frame; REP-117: inf and NaN are no hits.

    Raises:
        ValueError: the angles are no numbers.
    """
    ranges = np.asarray(message.ranges, np.float64)
    angles = message.angle_min + message.angle_increment * np.arange(len(ranges))
    if not np.isfinite([message.angle_min, message.angle_increment, message.range_min, message.range_max]).all():
        raise ValueError('angles or limits of the scan are not finite')
    with np.errstate(invalid='ignore'):
        hit = np.isfinite(ranges) & (ranges >= message.range_min) & (ranges <= message.range_max)
    ranges, angles = ranges[hit], angles[hit]
    return np.stack([ranges * np.cos(angles), ranges * np.sin(angles), np.zeros(len(ranges))], 1)


def points_of_cloud(message: PointCloud2) -> NDArray[np.float64]:
    """(N, 3) x y z of the finite points, in the cloud's frame.

    Raises:
        ValueError: there are no fields x, y, z of a floating type, or the data is too short.
    """
    fields = {field.name: field for field in message.fields}
    if not {'x', 'y', 'z'} <= set(fields) or any(fields[name].datatype not in _TYPES for name in 'xyz'):
        raise ValueError(f'a point cloud needs floating x, y, z; it has {", ".join(fields) or "no fields"}')
    order = '>' if message.is_bigendian else '<'
    row = np.dtype({'names': list('xyz'), 'formats': [order + _TYPES[fields[name].datatype] for name in 'xyz'],
                    'offsets': [fields[name].offset for name in 'xyz'], 'itemsize': message.point_step})
    data = np.frombuffer(message.data, np.uint8)
    if message.height < 1 or len(data) < message.height * message.row_step or message.row_step < (
            message.width * message.point_step):
        raise ValueError(f'{len(data)} bytes are too few for {message.height} rows of {message.row_step}')
    lines = [np.frombuffer(data, row, message.width, k * message.row_step) for k in range(message.height)]
    found = np.concatenate(lines)
    points = np.stack([found[name].astype(np.float64) for name in 'xyz'], 1)
    return points[np.isfinite(points).all(1)]
