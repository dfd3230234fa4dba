"""Publishers, subscriptions, services and timers of a node, made alike and destroyed together.

All but those with absolute names (/tf, /diagnostics) can be given another QoS by parameters
(`qos_overrides.<topic>.<kind>.<policy>`), and a peer whose QoS does not fit is named in the log together with
what to do about it.
"""
import copy
from collections import deque
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.qos import QoSCompatibility, QoSPolicyKind, QoSProfile, qos_check_compatible
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.type_support import check_for_type_support

from pypose_ros.later import answer_later

_OVERRIDABLE = (
    QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)

UNKNOWN_NODE = '_NODE_NAME_UNKNOWN_'    # rmw's name of a node that discovery has not told yet
_NAME_RETRY_PERIOD = 0.1                # s


def describe(profile: QoSProfile) -> str:
    return f'{profile.reliability.name.lower()}, {profile.durability.name.lower()}'


def incompatibility(topic: str, ours: QoSProfile, peers, *, publishing: bool, overridable: bool) -> list[str]:
    """A sentence for each peer (a TopicEndpointInfo) that cannot talk to our endpoint, with the fix."""
    sentences = []
    mine, other = ('publisher', 'subscription') if publishing else ('subscription', 'publisher')
    for peer in peers:
        theirs = peer.qos_profile
        offered, requested = (ours, theirs) if publishing else (theirs, ours)
        compatibility, _ = qos_check_compatible(offered, requested)
        if compatibility == QoSCompatibility.OK:
            continue
        policy = 'reliability' if offered.reliability.name == 'BEST_EFFORT' != requested.reliability.name \
            else 'durability'
        wanted = getattr(requested if publishing else offered, policy).name.lower()
        node = f'{peer.node_namespace.rstrip("/")}/{peer.node_name}'
        sentence = (f'{topic}: our {mine} ({describe(ours)}) and the {other} of {node} ({describe(theirs)}) do '
                    f'not fit: no message will pass. Let {node} use {policy} '
                    f'{getattr(ours, policy).name.lower()}')
        if overridable:
            sentence += f', or set our parameter qos_overrides.{topic}.{mine}.{policy}: {wanted}'
        sentences.append(sentence)
    return sentences


class Endpoints:
    """What a node has made; `destroy` undoes all of it."""

    def __init__(self, node):
        self._node = node
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._undo: list[Callable[[], object]] = []
        self._polled: list[Callable[[], None]] = []

    def publisher(self, kind: type, topic: str, profile: QoSProfile):
        """A publisher that is silent while the node is not active."""
        return self._publisher(self._node.create_lifecycle_publisher,
                               self._node.destroy_lifecycle_publisher, kind, topic, profile)

    def steady_publisher(self, kind: type, topic: str, profile: QoSProfile):
        """A publisher that works in every state: for diagnostics."""
        return self._publisher(self._node.create_publisher, self._node.destroy_publisher,
                               kind, topic, profile)

    def _publisher(self, create: Callable, destroy: Callable, kind: type, topic: str,
                   profile: QoSProfile):
        # A copy: rclpy writes overrides into the profile that it is given.
        profile = copy.copy(profile)
        resolved, overriding = self._node.resolve_topic_name(topic), self._overriding(topic)

        def report(_event) -> None:
            self._report(resolved, profile, self._node.get_subscriptions_info_by_topic,
                         publishing=True, overridable=overriding is not None)

        publisher = create(kind, topic, profile, qos_overriding_options=overriding,
                           event_callbacks=PublisherEventCallbacks(incompatible_qos=report))
        self._undo.append(lambda: destroy(publisher))
        return publisher

    def subscription(self, kind: type, topic: str, callback: Callable, profile: QoSProfile, *,
                     raw: bool = False):
        """A subscription; `raw` ones give the callback the serialized bytes."""
        profile = copy.copy(profile)
        resolved, overriding = self._node.resolve_topic_name(topic), self._overriding(topic)

        def report(_event) -> None:
            self._report(resolved, profile, self._node.get_publishers_info_by_topic,
                         publishing=False, overridable=overriding is not None)

        subscription = self._node.create_subscription(
            kind, topic, callback, profile, raw=raw, qos_overriding_options=overriding,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=report))
        self._undo.append(lambda: self._node.destroy_subscription(subscription))
        return subscription

    def polled(self, kind: type, topic: str, callback: Callable[[bytes], None], profile: QoSProfile
               ) -> Callable[[], None]:
        """A raw subscription that wakes nobody; what is returned takes up all that came, and so does `poll`.

        For what comes far more often than it is looked at: to be woken costs more than to read.
        """
        check_for_type_support(kind)
        with self._node.handle:
            handle = rclpy_implementation.Subscription(
                self._node.handle, kind, topic, copy.copy(profile).get_c_qos_profile())

        def take() -> None:
            with handle:
                while (taken := handle.take_message(kind, True)) is not None:
                    callback(taken[0])

        def undo() -> None:
            self._polled.remove(take)
            handle.destroy_when_not_in_use()

        self._polled.append(take)
        self._undo.append(undo)
        return take

    def poll(self) -> None:
        """Take up what came to all `polled` subscriptions."""
        for take in self._polled:
            take()

    def service(self, kind: type, name: str, callback: Callable) -> None:
        """`callback(request, response)` returns the response, or a Later."""
        service = self._node.create_service(kind, name, callback)
        answer_later(service)
        self._undo.append(lambda: self._node.destroy_service(service))

    def timer(self, period: float, callback: Callable[[], None]) -> None:
        """Every `period` seconds of the steady clock, whatever a simulated clock does."""
        timer = self._node.create_timer(period, callback, clock=self._steady)
        self._undo.append(lambda: self._node.destroy_timer(timer))

    def listen(self, channel, callback: Callable) -> None:
        """Hear a Channel in the thread of the node's callbacks."""
        self._undo.append(channel.subscribe(lambda call: self._node.executor.create_task(call), callback))

    def collect(self, channel, capacity: int) -> deque:
        """A box that fills with a Channel's newest items."""
        box: deque = deque(maxlen=capacity)
        self._undo.append(channel.collect(box))
        return box

    def destroy(self) -> None:
        while self._undo:
            self._undo.pop()()

    def _report(self, topic: str, profile: QoSProfile, peers_of: Callable, attempts: int = 20, **kind: bool) -> None:
        """Name the peers that do not fit, as soon as discovery knows their names.

        DDS tells of an endpoint that does not fit before it tells which node the endpoint belongs to.
        """
        peers = peers_of(topic)
        if attempts and any(peer.node_name == UNKNOWN_NODE for peer in peers):
            def again() -> None:
                self._node.destroy_timer(timer)
                self._report(topic, profile, peers_of, attempts - 1, **kind)

            timer = self._node.create_timer(_NAME_RETRY_PERIOD, again, clock=self._steady)
            return
        for sentence in incompatibility(topic, profile, peers, **kind):
            self._node.get_logger().error(sentence)

    @staticmethod
    def _overriding(topic: str) -> QoSOverridingOptions | None:
        return None if topic.startswith('/') else QoSOverridingOptions(policy_kinds=_OVERRIDABLE)
