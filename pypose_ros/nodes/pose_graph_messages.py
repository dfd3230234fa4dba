"""Messages of pose graphs to and from what the back-end knows."""
import numpy as np

from pypose_core.online.back_end import EdgeInput, EdgeKind
from pypose_ros import convert
from pypose_ros.msg import PoseGraphEdge


def edge_from_msg(message: PoseGraphEdge) -> EdgeInput:
    """An edge; a kind that is none is a loop closure's."""
    stamps = (message.from_stamp, message.to_stamp) if message.by_stamp else (None, None)
    from_ns, to_ns = (None if stamp is None else convert.stamp_from_msg(stamp) for stamp in stamps)
    kind = EdgeKind(message.kind) if message.kind in set(EdgeKind) else EdgeKind.LOOP
    return EdgeInput(convert.pose_from_msg(message.transform), np.array(message.information).reshape(6, 6),
                     message.from_id, message.to_id, from_ns, to_ns, kind, message.source or 'loop_closure')
