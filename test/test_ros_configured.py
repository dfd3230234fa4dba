"""Attributes of nodes that exist only while they are configured."""
import pytest

from pypose_ros.configured import Configured


class Node:
    planner = Configured[str]()
    worker = Configured[int]()


def test_what_is_not_there_is_named_and_what_is_there_is_given():
    node, other = Node(), Node()
    with pytest.raises(AttributeError, match='Node.planner is there only while'):
        node.planner  # noqa: B018
    node.planner, node.worker = 'a', 0
    assert node.planner == 'a' and node.worker == 0      # a false value is a value
    assert Node.planner.present(node) and not Node.planner.present(other) and not hasattr(other, 'planner')
    node.planner = None
    assert not Node.planner.present(node) and not hasattr(node, 'planner') and Node.worker.present(node)
