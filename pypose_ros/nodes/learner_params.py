"""The parameters of learner, for the node and for the docs."""
import math
from dataclasses import dataclass

from pypose_core.inertial import ImuNoise
from pypose_core.online.learner.config import LearnerConfig
from pypose_ros.common_params import CommonParams
from pypose_ros.params import Change, parameter

NODE_NAME = 'learner'


@dataclass(frozen=True)
class LearnerParams(CommonParams):
    """See each field."""
    mode: str = parameter(
        'shadow', 'off: nothing is trained. shadow: trained and judged, and promoted on request only. auto_promote: '
        'promoted where it is better, and rolled back where the version before would have been.',
        choices=('off', 'shadow', 'auto_promote'), change=Change.ANY)
    target: str = parameter(
        'imu_preintegration', 'Node whose front-end is trained; weights are announced on <target>/weights.')
    base_frame: str = parameter('base_link', "Frame whose poses are the graph's keyframes.")
    extrinsic_imu_to_base: tuple[float, ...] = parameter(
        (), 'Pose of the IMU in base_frame [x y z qx qy qz qw]; empty = looked up once in TF.', lengths=(0, 7))
    checkpoint_dir: str = parameter(
        '~/.ros/pypose_learner', 'Folder of the weights and of the state of training, which goes on from there.')
    window: float = parameter(10.0, 's of one example.', minimum=1.0, maximum=120.0)
    buffer: float = parameter(900.0, 's of samples that are kept.', minimum=10.0, maximum=86_400.0)
    validation_fraction: float = parameter(
        0.25, 'Of the windows, never trained on.', minimum=0.01, maximum=0.5)
    min_windows: int = parameter(
        6, 'Held-out windows without which nothing is promoted.', minimum=2, maximum=10_000)
    promote_margin: float = parameter(
        0.05, 'Share by which the held-out loss must fall.', minimum=0.0, maximum=0.99)
    lr: float = parameter(1e-3, 'Learning rate of Adam.', minimum=1e-7, maximum=1.0)
    grad_clip: float = parameter(1.0, 'Largest norm of a gradient.', minimum=1e-6, maximum=1e6)
    steps: int = parameter(20, "Of the optimizer in one round; each round ends with a validation.", minimum=1,
                           maximum=100_000)
    batch_size: int = parameter(4, 'Windows of one step.', minimum=1, maximum=1000)
    round_period: float = parameter(
        5.0, 's of rest between two rounds, of the steady clock.', minimum=0.0, maximum=86_400.0)
    nice: int = parameter(
        15, 'Niceness of the training thread. In a process of its own it has the policy SCHED_IDLE as well, which '
        'gives way to everything.', minimum=0, maximum=19)
    seed: int = parameter(0, 'Of the order of windows and the first weights.', minimum=0, maximum=2 ** 31 - 1)
    gravity: float = parameter(9.80665, 'm/s², local gravity.', minimum=0.1, maximum=30.0)
    gyroscope_noise_density: float = parameter(
        1.7e-4, "rad/s/√Hz, as the target's; weights carry it.", minimum=1e-9, maximum=1.0)
    accelerometer_noise_density: float = parameter(
        2.0e-3, "m/s²/√Hz, as the target's.", minimum=1e-9, maximum=10.0)
    gyroscope_random_walk: float = parameter(2.0e-5, "rad/s²/√Hz, as the target's.", minimum=0.0, maximum=1.0)
    accelerometer_random_walk: float = parameter(3.0e-3, "m/s³/√Hz, as the target's.", minimum=0.0, maximum=10.0)


def learner_config(params: LearnerParams) -> LearnerConfig:
    """The estimator's configuration. ValueError where parameters contradict each other."""
    names = ('window', 'buffer', 'validation_fraction', 'min_windows', 'promote_margin', 'grad_clip', 'steps',
             'batch_size', 'seed', 'gravity')
    noise = ImuNoise(params.gyroscope_noise_density, params.accelerometer_noise_density,
                     params.gyroscope_random_walk, params.accelerometer_random_walk)
    return LearnerConfig(learning_rate=params.lr, noise=noise, **{name: getattr(params, name) for name in names})


def check(params: LearnerParams) -> None:
    """ValueError where parameters contradict each other or ask for what there is not."""
    learner_config(params)
    extrinsic = params.extrinsic_imu_to_base
    if extrinsic and abs(math.hypot(*extrinsic[3:]) - 1) > 1e-4:
        raise ValueError(f'extrinsic_imu_to_base: the quaternion {extrinsic[3:]} (x y z w) is not of unit length')
    if params.target != 'imu_preintegration':
        raise ValueError(f'target is {params.target!r}; the front-end that can be trained live is that of '
                         'imu_preintegration')
