"""Serialized messages of many poses: graphs and markers of thousands of elements in milliseconds.

Filling the rclpy messages of a graph of 2500 keyframes takes a second of Python, during which callbacks wait; here
bytes are laid out as CDR has them (see cdr.py), long arrays by numpy.
"""
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pypose_ros.cdr import LITTLE_ENDIAN, NANO

POINT_LIST, LINE_LIST = 8, 5            # visualization_msgs/Marker types
_STAMP, _POSE, _INFORMATION = struct.Struct('<iI'), struct.Struct('<7d'), struct.Struct('<36d')


class CdrWriter:
    """Appends fields in CDR's alignment, which counts from after the encapsulation."""

    def __init__(self):
        self._data = bytearray()

    def align(self, size: int) -> None:
        self._data += bytes(-len(self._data) % size)

    def pack(self, form: str, size: int, *values) -> None:
        """Numbers of one size by their struct letter."""
        self.align(size)
        self._data += struct.pack(f'<{form}', *values)

    def string(self, text: str) -> None:
        raw = text.encode() + b'\x00'
        self.pack('I', 4, len(raw))
        self._data += raw

    def header(self, stamp_ns: int, frame_id: str) -> None:
        self.stamp(stamp_ns)
        self.string(frame_id)

    def stamp(self, stamp_ns: int) -> None:
        self.align(4)
        self._data += _STAMP.pack(*divmod(stamp_ns, NANO))

    def rows(self, array: NDArray) -> None:
        """A sequence of structures of doubles or 8-byte integers, whose length is multiple of 8."""
        self.pack('I', 4, len(array))
        if len(array):
            self.align(8)
            self._data += np.ascontiguousarray(array).tobytes()

    def raw(self, data: bytes) -> None:
        self._data += data

    def message(self) -> bytes:
        return LITTLE_ENDIAN + b'\x00\x00' + bytes(self._data)


_NODE = np.dtype([('id', '<u8'), ('sec', '<i4'), ('nanosec', '<u4'), ('pose', '<f8', 7)])


def pose_graph(stamp_ns: int, frame_id: str, revision: int, nodes: tuple[NDArray, NDArray, NDArray],
               edges: Sequence[tuple]) -> bytes:
    """Serialized pypose_ros/PoseGraph.

    Args:
        nodes: ids (N,), stamps in ns (N,), poses (N, 7) T_map_base.
        edges: tuples (kind, from id, to id, from stamp ns, to stamp ns, T_from_to (7,), information (36,), rejected,
            chi2, source).
    """
    out = CdrWriter()
    out.header(stamp_ns, frame_id)
    out.pack('Q', 8, revision)
    ids, stamps, poses = nodes
    rows = np.zeros(len(ids), _NODE)
    rows['id'], rows['pose'] = ids, poses
    rows['sec'], rows['nanosec'] = stamps // NANO, stamps % NANO
    out.rows(rows)
    out.pack('I', 4, len(edges))
    for kind, i, j, from_ns, to_ns, transform, information, rejected, chi2, source in edges:
        out.header(stamp_ns, frame_id)
        out.pack('B?', 1, kind, False)
        out.pack('QQ', 8, i, j)
        out.stamp(from_ns)
        out.stamp(to_ns)
        out.align(8)
        out.raw(_POSE.pack(*transform))
        out.raw(_INFORMATION.pack(*information))
        out.pack('?', 1, rejected)
        out.pack('d', 8, chi2)
        out.string(source)
    return out.message()


def path(stamp_ns: int, frame_id: str, stamps: NDArray[np.int64], poses: NDArray) -> bytes:
    """Serialized nav_msgs/Path of poses (N, 7)."""
    out = CdrWriter()
    out.header(stamp_ns, frame_id)
    out.pack('I', 4, len(poses))
    for stamp, pose in zip(stamps.tolist(), poses.tolist()):
        out.header(stamp, frame_id)
        out.align(8)
        out.raw(_POSE.pack(*pose))
    return out.message()


def markers(stamp_ns: int, frame_id: str, layers: Sequence[tuple[str, int, float, tuple, NDArray]]) -> bytes:
    """Serialized visualization_msgs/MarkerArray.

    Args:
        layers: tuples (namespace, POINT_LIST or LINE_LIST, width in m, colour (r, g, b, a), points (N, 3)); of
            LINE_LIST every two points are a line. A layer without points deletes what it showed.
    """
    out = CdrWriter()
    out.pack('I', 4, len(layers))
    for namespace, kind, width, colour, points in layers:
        out.header(stamp_ns, frame_id)
        out.string(namespace)
        out.pack('iii', 4, 0, kind, 0 if len(points) else 2)    # id, type, action: ADD or DELETE
        out.align(8)
        out.raw(_POSE.pack(0, 0, 0, 0, 0, 0, 1))
        out.pack('ddd', 8, width, width, 0.0)
        out.pack('ffff', 4, *colour)
        out.pack('iI', 4, 0, 0)                                 # lifetime: for ever
        out.pack('?', 1, False)
        out.rows(np.asarray(points, np.float64))
        out.pack('I', 4, 0)                                     # colours
        out.string('')                                          # texture_resource
        out.header(0, '')                                       # texture
        out.string('')
        out.pack('I', 4, 0)
        out.pack('I', 4, 0)                                     # uv_coordinates
        out.string('')                                          # text
        out.string('')                                          # mesh_resource
        out.string('')                                          # mesh_file
        out.pack('I', 4, 0)
        out.pack('?', 1, False)
    return out.message()
