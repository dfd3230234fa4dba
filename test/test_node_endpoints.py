"""QoS: overridden by parameters, misfits named with their cure; diagnostics' meters."""
from nav_msgs.msg import Odometry
from node_rig import T0, standing
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from pypose_ros import diagnostics, qos
from pypose_ros.msg import Weights

NODE = 'imu_preintegration'


def test_a_peer_whose_qos_does_not_fit_is_named_with_the_fix(rig, capfd):
    rig.start()
    volatile = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
    rig.node.create_publisher(Weights, f'{NODE}/weights', volatile)
    seen = []
    rig.until(lambda: seen.append(capfd.readouterr().err) or any('do not fit' in text for text in seen), 'the log')
    text = ''.join(seen)
    assert '/peer' in text and 'transient_local' in text and 'volatile' in text
    assert f'qos_overrides./{NODE}/weights.subscription.durability: volatile' in text


def test_a_peer_is_named_once_discovery_has_told_its_name(rig, capfd, monkeypatch):
    """DDS reports the misfit first, and for a moment gives a placeholder for the node's name."""
    node = rig.start()
    told = node.get_publishers_info_by_topic
    asked = []

    def late(topic):
        peers = told(topic)
        asked.append(topic)
        if len(asked) < 3:
            for peer in peers:
                peer.node_name = '_NODE_NAME_UNKNOWN_'
        return peers

    monkeypatch.setattr(node, 'get_publishers_info_by_topic', late)
    volatile = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
    rig.node.create_publisher(Weights, f'{NODE}/weights', volatile)
    seen = []
    rig.until(lambda: seen.append(capfd.readouterr().err) or any('do not fit' in text for text in seen), 'the log')
    assert len(asked) >= 3 and '/peer (' in ''.join(seen) and 'UNKNOWN' not in ''.join(seen)


def test_the_named_fix_works(rig):
    rig.start(cli=['--ros-args', '-p', f'qos_overrides./{NODE}/weights.subscription.durability:=volatile'])
    volatile = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
    publisher = rig.node.create_publisher(Weights, f'{NODE}/weights', volatile)
    rig.until(publisher.get_subscription_count, 'the match')


def test_a_subscriber_that_asks_for_more_than_we_offer_is_named_too(rig, capfd):
    rig.start()
    rig.node.create_subscription(Odometry, 'odometry/imu', lambda message: None, qos.LATCHED)
    seen = []
    rig.until(lambda: seen.append(capfd.readouterr().err) or any('do not fit' in text for text in seen), 'the log')
    assert 'qos_overrides./odometry/imu.publisher.durability: transient_local' in ''.join(seen)


def test_parameters_override_the_qos_of_public_topics_of_this_node_only(rig):
    rig.start(cli=['--ros-args', '-p', 'qos_overrides./odometry/imu.publisher.reliability:=best_effort',
                   '-p', 'qos_overrides./imu/data_raw.subscription.reliability:=reliable'])
    (publisher,) = rig.node.get_publishers_info_by_topic('/odometry/imu')
    assert publisher.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    heard = [info for info in rig.node.get_subscriptions_info_by_topic('/imu/data_raw') if info.node_name == NODE]
    assert heard[0].qos_profile.reliability == ReliabilityPolicy.RELIABLE
    # rclpy writes overrides into the profile that it is given: ours must not be that one.
    assert qos.STANDARD.reliability == ReliabilityPolicy.RELIABLE
    rig.samples(standing(T0, 1.2))
    assert rig.heard()


def test_diagnostics_tell_rates_latencies_drops_and_the_state_of_the_estimator(rig):
    rig.start(init__mode='pose')
    rig.drive(T0, 2.0)
    status = rig.told(lambda status: status['count imu'] == '400' and status['count pose'] == '20', 'all is taken')
    assert 0 < float(status['latency callback p50 [ms]']) <= float(status['latency callback p99 [ms]'])
    assert float(status['latency solve p99 [ms]']) > 0
    assert status['estimator'] == 'RUNNING' and status['state'] == 'active' and 'solver status' in status


def test_percentiles_are_of_the_recent_values():
    latency = diagnostics.Latency(capacity=100)
    assert latency.percentiles(50, 99) == (0.0, 0.0)
    for k in range(1000):
        latency.add(k)
    assert latency.percentiles(0, 100) == (900.0, 999.0)


def test_the_worst_status_wins_and_equals_are_joined():
    status = diagnostics.Status()
    status.worsen(diagnostics.WARN, 'a')
    status.worsen(diagnostics.OK, 'fine')
    status.worsen(diagnostics.WARN, 'b')
    assert (status.level, status.message) == (diagnostics.WARN, 'a; b')
    status.worsen(diagnostics.ERROR, 'c')
    assert (status.level, status.message) == (diagnostics.ERROR, 'c')
