"""A simulated clock that is absent or paused: the watchdog lives on the steady clock and says it once."""
from node_rig import PERIOD, T0, standing
from rosgraph_msgs.msg import Clock

from pypose_ros import convert, diagnostics
from pypose_ros.clock_watch import ClockWatch


def test_without_a_simulated_clock_the_node_works_from_stamps_and_warns_once(rig, capfd):
    rig.start(use_sim_time=True)
    rig.samples(standing(T0, 1.5))
    assert rig.heard()[-1].stamp_ns == T0 + 299 * PERIOD
    assert rig.told(lambda s: '/clock' in s['message'], 'there is no /clock')['level'] == diagnostics.WARN
    assert capfd.readouterr().err.count('nothing publishes /clock') == 1


def test_a_paused_simulated_clock_is_reported_once_and_forgiven_when_it_runs_again(rig, capfd):
    node = rig.start(use_sim_time=True)
    clock = rig.node.create_publisher(Clock, '/clock', 10)
    ticks = iter(range(10 ** 9))

    def tick() -> None:
        clock.publish(Clock(clock=convert.stamp_to_msg(T0 + next(ticks) * PERIOD)))
        rig.spin(0.01)

    rig.until(lambda: tick() or node.get_clock().now().nanoseconds > T0, 'the clock is heard')
    rig.told(lambda s: 'stands still' in s['message'], 'the pause')
    assert capfd.readouterr().err.count('stands still') == 1
    rig.until(lambda: tick() or not node._clock_problem, 'the clock runs again')


def test_silence_of_the_imu_is_reported_by_the_steady_clock(rig, capfd):
    rig.start(use_sim_time=True)
    rig.samples(standing(T0, 0.2))
    rig.told(lambda s: 'no IMU sample for' in s['message'], 'the silence')
    assert 'no IMU sample on /imu/data_raw' in capfd.readouterr().err
    for _ in range(3):          # it lasts, and is not said again
        assert 'no IMU sample for' in rig.status()['message']
    assert 'no IMU sample on' not in capfd.readouterr().err


def test_a_clock_watch_wants_patience_and_reports_only_simulated_clocks():
    now, steady = [0], [0.0]
    watch = ClockWatch(lambda: now[0], simulated=lambda: True, patience=2.0, steady=lambda: steady[0])
    assert watch.check() == ''
    steady[0] = 2.1
    assert 'nothing publishes /clock' in watch.check()
    now[0] = T0
    assert watch.check() == ''
    steady[0] = 4.0
    assert watch.check() == ''
    steady[0] = 4.3
    assert 'stands still' in watch.check()
    assert ClockWatch(lambda: 0, simulated=lambda: False, patience=0.0, steady=lambda: 9.0).check() == ''
