"""Is a bag fit to estimate from? Rates, stamps, frames, units and covariances, with advice."""
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from . import checks
from .checks import Finding
from .reader import BagReader
from .recording import BIAS, IMU, ODOMETRY, POSE, POSE_STAMPED, read_series

_READABLE = (IMU, ODOMETRY, POSE, POSE_STAMPED, BIAS)


@dataclass(frozen=True)
class TopicReport:
    """One topic: rate (Hz, from the median step), jitter and largest gap in seconds; nan where unstamped."""

    topic: str
    msgtype: str
    count: int
    rate: float = float('nan')
    jitter: float = float('nan')
    largest_gap: float = float('nan')
    log_delay: float = float('nan')
    frames: tuple[str, ...] = ()


@dataclass(frozen=True)
class BagReport:
    """What `validate_bag` found; `ok` means no finding of level 'error'."""

    bag: str
    duration: float
    topics: list[TopicReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not any(finding.level == 'error' for finding in self.findings)

    def as_dict(self) -> dict:
        """For JSON; absent numbers are null."""
        data = asdict(self) | {'ok': self.ok}
        for topic in data['topics']:
            topic.update({k: None for k, v in topic.items() if isinstance(v, float) and not np.isfinite(v)})
        return data

    def text(self) -> str:
        """For people."""
        width = max([len(t.topic) for t in self.topics] + [5])
        kind = max([len(t.msgtype) for t in self.topics] + [4])
        lines = [f'{self.bag}: {self.duration:.1f} s, {sum(t.count for t in self.topics)} messages', '',
                 f'{"topic":{width}}  {"type":{kind}}  {"messages":>8}  {"rate Hz":>8}  {"jitter ms":>9}  '
                 f'{"gap ms":>8}  {"delay ms":>9}  frame']
        for t in self.topics:
            numbers = [_number(t.rate, '8.2f'), _number(1e3 * t.jitter, '9.2f'),
                       _number(1e3 * t.largest_gap, '8.1f'), _number(1e3 * t.log_delay, '9.1f')]
            lines.append(f'{t.topic:{width}}  {t.msgtype:{kind}}  {t.count:8d}  {"  ".join(numbers)}  '
                         f'{", ".join(t.frames)}')
        lines.append('')
        for finding in self.findings:
            lines.append(f'{finding.level.upper():7}  {finding.topic + ": " if finding.topic else ""}'
                         f'{finding.message}')
            if finding.advice:
                lines.append(f'         -> {finding.advice}')
        errors, warnings, notes = (sum(finding.level == level for finding in self.findings)
                                   for level in ('error', 'warning', 'info'))
        lines.append(f'{errors} errors, {warnings} warnings, {notes} notes')
        return '\n'.join(lines)


def validate_bag(path: str | Path) -> BagReport:
    """Examine a bag.

    Raises:
        BagError: it cannot be read at all.
    """
    with BagReader(path) as bag:
        topics = bag.topics
        stamps: dict[str, list] = {topic.name: [] for topic in topics}
        logs: dict[str, list] = {topic.name: [] for topic in topics}
        for message in bag.messages():
            stamp = bag.stamp_ns(message)
            logs[message.topic].append(message.log_ns)
            if stamp is not None:
                stamps[message.topic].append(stamp)
        series = read_series(bag, [t.name for t in topics if t.msgtype in _READABLE])

    findings: list[Finding] = []
    reports = []
    for topic in topics:
        stamped, log = (np.array(column[topic.name], dtype=np.int64) for column in (stamps, logs))
        columns = series.get(topic.name)
        frames = tuple(columns.frames) if columns else ()
        report = TopicReport(topic.name, topic.msgtype, topic.count, frames=frames)
        if len(stamped) > 1:
            timing = checks.timing(stamped, log)
            report = TopicReport(topic.name, topic.msgtype, topic.count, timing.rate, timing.jitter,
                                 timing.largest_gap, timing.log_delay, frames)
            findings += checks.check_stamps(topic.name, stamped, log)
            if topic.msgtype in (IMU, ODOMETRY):
                findings += checks.check_regularity(topic.name, stamped, timing, imu=topic.msgtype == IMU)
        if columns:
            findings += checks.check_frames(columns)
            findings += checks.check_values(columns)
        reports.append(report)
    findings += checks.check_contents(topics)
    findings.sort(key=lambda finding: ('error', 'warning', 'info').index(finding.level))
    every = [log for column in logs.values() for log in column]
    duration = (max(every) - min(every)) * 1e-9 if every else 0.0
    return BagReport(str(path), duration, reports, findings)


def _number(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else '-'.rjust(int(form.split('.')[0]))
