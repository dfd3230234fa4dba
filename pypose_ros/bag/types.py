"""The message types that bags are written with: ROS 2 Jazzy's and our own."""
from functools import cache

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from .resources import resource

OURS = ('ImuBias', 'PreintegratedImu', 'PoseGraphEdge')


@cache
def typestore() -> Typestore:
    """Jazzy's types with those of pypose_ros registered from their .msg text."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in OURS:
        text = resource(f'msg/{name}.msg').read_text(encoding='utf-8')
        store.register(get_types_from_msg(text, f'pypose_ros/msg/{name}'))
    return store
