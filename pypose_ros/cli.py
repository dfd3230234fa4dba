"""The command `pypose-ros`. Exit codes: 0 done, 1 ran and a check failed, 2 unusable input (one line).

Each command's code is imported when it runs, so that `--help` stays instant.
"""
import argparse
import json
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    cut = arguments.index('--ros-args') if '--ros-args' in arguments else len(arguments)
    options = _parser().parse_args(arguments[:cut], argparse.Namespace(ros_args=arguments[cut:]))
    from pypose_ros.bag.errors import BagError, RunError
    try:
        return options.run(options)
    except RunError as error:
        print(f'pypose-ros: {error}', file=sys.stderr)
        return 1
    except BagError as error:
        print(f'pypose-ros: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('pypose-ros: interrupted', file=sys.stderr)
        return 130
    except BrokenPipeError:     # `pypose-ros validate BAG | head`
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='pypose-ros', description='Evaluate pypose_ros on recordings.')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    command = commands.add_parser('convert', help='make a bag of a dataset')
    kinds = command.add_subparsers(required=True, metavar='DATASET')
    euroc = kinds.add_parser('euroc', help='a EuRoC MAV sequence')
    euroc.add_argument('folder', help='the sequence (with mav0/, or imu0.csv and ground truth)')
    euroc.add_argument('out', help='OUT.mcap, or a folder to make')
    euroc.add_argument('--overwrite', action='store_true', help='replace an existing OUT')
    euroc.set_defaults(run=_convert_euroc)

    command = commands.add_parser('validate', help='examine a bag: rates, stamps, frames, units, covariances')
    command.add_argument('bag', help='ROS 2 (.mcap, .db3, folder) or ROS 1 (.bag)')
    command.add_argument('--json', action='store_true', help='print JSON instead of a table')
    command.set_defaults(run=_validate)

    command = commands.add_parser('evaluate', help='ATE and RPE of a trajectory against ground truth')
    command.add_argument('estimate', help='TUM file')
    command.add_argument('truth', help='TUM file')
    command.add_argument('--max-difference', type=float, default=0.01, metavar='S',
                         help='seconds between stamps that belong together (default 0.01)')
    command.add_argument('--interpolate', action='store_true',
                         help='interpolate the ground truth at the estimate\'s stamps')
    command.add_argument('--delta', type=float, default=1.0, help='of the relative error (default 1)')
    command.add_argument('--unit', choices=('seconds', 'frames', 'metres'), default='seconds',
                         help='of --delta (default seconds)')
    command.add_argument('--json', action='store_true', help='print JSON instead of a table')
    command.set_defaults(run=_evaluate)

    command = commands.add_parser('play', help='play a bag into the middleware, /clock beside it')
    command.add_argument('bag', help='ROS 2 (.mcap, .db3, folder) or ROS 1 (.bag)')
    command.add_argument('--rate', type=float, default=1.0, help='speed of playing (default 1)')
    command.add_argument('--remap', metavar='FROM:=TO', action='append', default=[], help='another name for a topic')
    command.add_argument('--topics', nargs='+', metavar='TOPIC', help='only these (default: all)')
    command.add_argument('--wait-for', nargs='+', metavar='TOPIC', default=[],
                         help='begin once these have a subscriber')
    command.set_defaults(run=_play)

    command = commands.add_parser('sim', help='a simulated robot: sensors, /clock and a local costmap out, cmd_vel in',
                                  epilog='Arguments for ROS come last: --ros-args -r ...')
    add = command.add_argument
    add('--world', choices=('offices', 'empty'), default='offices', help='with or without boxes and pillars in the way')
    add('--seed', type=int, default=0, help='of every error and of the boxes (default 0)')
    add('--rate', type=float, default=1.0, help='simulated seconds per second (default 1)')
    add('--duration', type=float, default=0.0, metavar='S', help='simulated seconds; 0: until Ctrl-C (default)')
    add('--laps', type=float, default=1.0, help='of the plan (default 1)')
    add('--boxes', type=int, default=4, help='that stand in the way (default 4)')
    add('--plan', action='store_true', help='publish the course as `plan`')
    add('--goal', type=float, nargs=3, metavar=('X', 'Y', 'YAW'), help='publish this as `goal_pose`: the planner finds '
        'the way')
    add('--drive', action='store_true', help='the robot drives the course by itself, blind to what stands '
        'there (take --world empty), and does not hear cmd_vel')
    add('--calibration-error', type=float, default=0.0, metavar='X',
        help='of the IMU: scale factors wrong by X, axes turned by about X rad (default 0)')
    add('--slip', type=float, metavar='X', help='of the wheels (default 0.01)')
    add('--stamped', action='store_true', help='cmd_vel is a TwistStamped')
    command.set_defaults(run=_sim)

    command = commands.add_parser('graph', help='solve a pose graph, a bag\'s or a simulated patrol\'s, and show it as '
                                                'a page')
    command.add_argument('session', nargs='?', help='.g2o file, or a bag with odometry; without one a simulated patrol')
    command.add_argument('--out', metavar='FILE', default='results/pose_graph.html',
                         help='the page (default results/pose_graph.html)')
    command.add_argument('--robust', choices=('none', 'huber', 'gnc', 'pcm'),
                         help='defence against wrong loops (default: none for a file, gnc for the patrol, the '
                         'parameter robust.method for a bag)')
    for name, what in (('odometry', 'odometry (default: detected)'),
                       ('pose', 'absolute poses in the map (default: none)'),
                       ('fix', 'satellite fixes; `none` to do without (default: detected)'),
                       ('loop', 'loop closures, likewise')):
        command.add_argument(f'--{name}-topic', metavar='TOPIC', help=f'of a bag: {what}')
    command.add_argument('--config', metavar='YAML', help='parameter file of pose_graph, for a bag')
    command.add_argument('-p', '--param', metavar='NAME:=VALUE', action='append', default=[],
                         help='override one parameter')
    command.add_argument('--seed', type=int, default=0, help='of the patrol (default 0)')
    command.set_defaults(run=_graph)

    command = commands.add_parser('replay', help='run a bag through the estimator and evaluate it')
    command.add_argument('bag', help='ROS 2 (.mcap, .db3, folder) or ROS 1 (.bag), with a sensor_msgs/Imu')
    command.add_argument('--live', action='store_true', help='through the middleware: node, player and '
                                                             'recorder '
                         'as processes of their own')
    command.add_argument('--rate', type=float, default=1.0, help='speed of playing with --live (default 1)')
    _add_replay_options(command)
    command.set_defaults(run=_replay)

    command = commands.add_parser('train', help='train a front-end on recordings with ground truth')
    command.add_argument('bag', nargs='+', help='bag, or folder of a EuRoC sequence')
    command.add_argument('--target', required=True, choices=('imu_corrector',), help='what to train')
    command.add_argument('--config', metavar='YAML', help='parameters, and what of which recording to train on '
                         '(see config/train/euroc.yaml; default: the first 70 % of each)')
    command.add_argument('--out', metavar='DIR', help='folder of the results (default results/train-TARGET)')
    command.add_argument('--seed', type=int, help='instead of that of the configuration')
    command.add_argument('--imu-topic', metavar='TOPIC', help='default: detected')
    command.add_argument('--ground-truth', metavar='TOPIC_OR_TUM', help='default: detected')
    command.set_defaults(run=_train)

    command = commands.add_parser('demo', help='a simulated robot drives a patrol on its own estimate; or a bag (or a '
                                               'synthetic flight) through the running node')
    command.add_argument('bag', nargs='?', help='a bag to play through imu_preintegration instead')
    command.add_argument('--laps', type=float, default=1.1, help='of the patrol, 61 m each (default 1.1)')
    command.add_argument('--frequency', type=float, default=50.0, metavar='HZ', help='of the controller (default 50)')
    command.add_argument('--flight', action='store_true', help='a synthetic flight through imu_preintegration instead')
    command.add_argument('--duration', type=float, default=40.0, metavar='S', help='of the flight (default 40)')
    command.add_argument('--imu-rate', type=float, default=200.0, metavar='HZ', help='of the flight '
                                                                                     '(default 200)')
    command.add_argument('--rate', type=float, default=1.0, help='speed of playing (default 1)')
    _add_replay_options(command)
    command.set_defaults(run=_demo)
    return parser


def _add_replay_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add('--config', metavar='YAML', help='parameter file of imu_preintegration')
    add('-p', '--param', metavar='NAME:=VALUE', action='append', default=[], help='override one parameter')
    add('--out', metavar='DIR', help='folder of the results (default results/BAG-MODE)')
    add('--imu-topic', metavar='TOPIC', help='default: detected')
    add('--pose-topic', metavar='TOPIC', help='absolute corrections; `none` to do without (default: '
                                              'detected)')
    add('--odometry-topic', metavar='TOPIC', help='relative corrections, likewise')
    add('--ground-truth', metavar='TOPIC_OR_TUM', help='what to compare with; `none` to do without '
        '(default: detected)')
    add('--corrections-from', metavar='TOPIC_OR_TUM', help='draw absolute corrections from this ground truth '
        'instead of taking those of the bag')
    add('--correction-rate', type=float, default=10.0, metavar='HZ', help='default 10')
    add('--correction-sigma', type=float, nargs=2, default=(0.02, 0.5), metavar=('M', 'DEG'),
        help='noise of drawn corrections per axis (default 0.02 0.5)')
    add('--correction-delay', type=float, default=0.0, metavar='S',
        help='from their stamp to their arrival (default 0)')
    add('--seed', type=int, default=0, help='of the drawn noise (default 0)')


def _replay_options(options):
    from pypose_ros.bag.replay_input import ReplayOptions
    return ReplayOptions(
        imu_topic=options.imu_topic, pose_topic=options.pose_topic, odometry_topic=options.odometry_topic,
        ground_truth=options.ground_truth, corrections_from=options.corrections_from,
        correction_rate=options.correction_rate, correction_sigma=tuple(options.correction_sigma),
        correction_delay=options.correction_delay, seed=options.seed)


def _replay(options) -> int:
    from pathlib import Path

    from pypose_ros.bag.replay import run
    _check_rate(options.rate)
    run(Path(options.bag), _replay_options(options), options.config, options.param, options.out,
        live=options.live, rate=options.rate)
    return 0


def _demo(options) -> int:
    from pathlib import Path

    from pypose_ros.bag.errors import BagError
    from pypose_ros.bag.replay import demo
    from pypose_ros.bag.synthetic import FlightConfig
    _check_rate(options.rate)
    if options.bag is None and not options.flight:
        from pypose_ros.sim.closed_loop import ClosedLoopConfig
        from pypose_ros.sim.command import demonstrate
        if not (0.05 <= options.laps <= 100 and 10 <= options.frequency <= 200):
            raise BagError('--laps must be 0.05 to 100 and --frequency 10 to 200 Hz')
        return demonstrate(ClosedLoopConfig(seed=options.seed, laps=options.laps, frequency=options.frequency,
                                            rate=options.rate), Path(options.out) if options.out else None)
    if not (3 <= options.duration <= 3600 and 10 <= options.imu_rate <= 10000):
        raise BagError('--duration must be 3 to 3600 s and --imu-rate 10 to 10000 Hz')
    flight = FlightConfig(duration=options.duration, imu_rate=options.imu_rate, seed=options.seed)
    demo(Path(options.bag) if options.bag else None, _replay_options(options), options.config, options.param,
         options.out, flight=flight, rate=options.rate)
    return 0


def _check_rate(rate: float) -> None:
    from pypose_ros.bag.errors import BagError
    if not 0.01 <= rate <= 100:
        raise BagError(f'--rate {rate}: the speed of playing must be 0.01 to 100')


def _play(options) -> int:
    from pypose_ros.bag.errors import BagError
    from pypose_ros.bag.play import play_bag
    _check_rate(options.rate)
    remap = {}
    for rule in options.remap:
        source, separator, target = rule.partition(':=')
        if not (separator and source and target):
            raise BagError(f'--remap {rule}: wants /from:=/to')
        remap[source] = target

    def progress(seconds: float, total: float) -> None:
        print(f'\rplaying {seconds:7.1f} of {total:.1f} s', end='', file=sys.stderr, flush=True)

    counts = play_bag(options.bag, rate=options.rate, remap=remap, topics=options.topics, wait_for=options.wait_for,
                      progress=progress)
    print(file=sys.stderr)
    for topic, count in sorted(counts.items()):
        print(f'{count:8d}  {topic}')
    return 0


def _sim(options) -> int:
    from pypose_ros.sim.command import simulate
    _check_rate(options.rate)
    return simulate(options)


def _graph(options) -> int:
    from pathlib import Path

    from pypose_ros.bag.graph import GraphTopics
    from pypose_ros.bag.reader import BAGS
    from pypose_ros.graph_command import show_bag, show_file, show_patrol
    out = Path(options.out)
    if options.session and (Path(options.session).is_dir() or Path(options.session).suffix in BAGS):
        topics = GraphTopics(options.odometry_topic, options.pose_topic or 'none', options.fix_topic,
                             options.loop_topic)
        print(show_bag(Path(options.session), out, topics, config=options.config, overrides=options.param,
                       robust=options.robust))
    elif options.session:
        print(show_file(Path(options.session), out, robust=options.robust or 'none'))
    else:
        print(show_patrol(out, robust=options.robust or 'gnc', seed=options.seed))
    print(f'wrote {out}')
    return 0


def _train(options) -> int:
    from pypose_ros.train.command import train
    train(options.bag, options.target, options.config, options.out, seed=options.seed, imu_topic=options.imu_topic,
          ground_truth=options.ground_truth)
    return 0


def _convert_euroc(options) -> int:
    from pypose_ros.bag.euroc import convert_euroc
    counts = convert_euroc(options.folder, options.out, overwrite=options.overwrite)
    for topic, count in sorted(counts.items()):
        print(f'{count:8d}  {topic}')
    print(f'wrote {options.out}')
    return 0


def _validate(options) -> int:
    from pypose_ros.bag.validate import validate_bag
    report = validate_bag(options.bag)
    print(json.dumps(report.as_dict(), indent=2, allow_nan=False) if options.json else report.text())
    return 0 if report.ok else 1


def _evaluate(options) -> int:
    from pypose_ros.bag.compare import compare_files
    comparison = compare_files(options.estimate, options.truth, max_difference=options.max_difference,
                               interpolate=options.interpolate, delta=options.delta, unit=options.unit)
    print(json.dumps(comparison.as_dict(), indent=2, allow_nan=False) if options.json else comparison.text())
    return 0


if __name__ == '__main__':
    sys.exit(main())
