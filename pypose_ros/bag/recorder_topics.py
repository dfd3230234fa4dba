"""What the recorder listens to, readable without the middleware."""
from .reader import BagReader
from .recording import BIAS, ODOMETRY

ODOMETRY_TOPIC = '/odometry/imu'
BIAS_TOPIC = '/imu_preintegration/bias'
DIAGNOSTICS_TOPIC = '/diagnostics'
TYPES = {ODOMETRY_TOPIC: ODOMETRY, BIAS_TOPIC: BIAS, '/tf': 'tf2_msgs/msg/TFMessage',
         DIAGNOSTICS_TOPIC: 'diagnostic_msgs/msg/DiagnosticArray'}


def last_diagnostics(bag: BagReader) -> dict[str, str]:
    """Key to value of the node's last diagnostics; empty where there are none."""
    last = None
    for message in bag.messages([DIAGNOSTICS_TOPIC]):
        last = message
    if last is None:
        return {}
    return {pair.key: pair.value for status in bag.decode(last).status for pair in status.values}
