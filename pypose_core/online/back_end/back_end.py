"""The pose-graph back-end: keyframes from odometry, loop closures and absolute measurements, one consistent map."""
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pypose_core.online.correction import check_pose, inverse, rotation_matrix, usable_covariance
from pypose_core.online.verdict import Verdict

from .alignment import Fix, FixAlignment, usable_fix_covariance
from .batch_job import BatchJob
from .config import BackEndConfig
from .files import SessionFile, read_session, write_session
from .geodetic import LocalFrame
from .graph_factors import EDGE_COLUMNS, JUDGES, PRIOR_COLUMNS, TIGHT_SIGMA
from .incremental_job import IncrementalJob, IncrementalSolver
from .inertial import ImuSource, InertialLinks
from .inertial_job import InertialJob
from .news import News
from .odometry import OdometryBuffer, angle_of, carried, check_odometry, compose, leap, link
from .pending import Pending
from .records import EdgeInput, EdgeKind, LoopEvent, PriorKind, edge_table, keyframe_table, prior_table, solve_table
from .solve_job import SolveJob
from .standing import judge_edges, usable_edge

IDENTITY = np.array([0.0, 0, 0, 0, 0, 0, 1])
BREAK_SIGMA = (10.0, 3.0)       # m, rad of a link that nothing measured: a new session, or odometry that jumped
LEAST_SPACING_NS = 5_000_000     # between keyframes that measurements get for themselves
UNKNOWN = np.full((6, 6), np.nan)


class PoseGraphBackEnd:
    """Fed with odometry, edges, poses and fixes in any order; gives the pose of the robot in the map.

        back_end = PoseGraphBackEnd(BackEndConfig())
        back_end.add_odometry(stamp_ns, T_odom_base)
        back_end.add_edge(EdgeInput(T_from_to, information, from_id=0, to_id=7))
        back_end.solve()                                   # or begin_solve(), job.run() in a worker
        back_end.T_map_base, back_end.T_map_odom, back_end.covariance

    The map is odometry's frame at the first keyframe, until poses or fixes say where that is. All methods belong to
    one thread; only `SolveJob.run` may run in another.
    """

    def __init__(self, config: BackEndConfig | None = None):
        self.config = config or BackEndConfig()
        self.paused = False
        self._generation = 0
        self._events: News[LoopEvent] = News()
        self._messages: News[tuple[str, str]] = News()
        self._clear()

    def _clear(self) -> None:
        self.keyframes, self.edges, self.priors = keyframe_table(), edge_table(), prior_table()
        self.solves = solve_table()
        self.sources: list[str] = ['']
        self.revision = 0
        self.covariance = UNKNOWN
        """(6, 6) of the newest keyframe's pose, ROS order about the map's axes; it grows with the way since a solve."""
        self.last_job: SolveJob | None = None
        self.T_map_odom = IDENTITY
        self.T_odom_base: NDArray | None = None
        self.stamp_ns = 0
        self.local_frame: LocalFrame | None = None
        self.inertial: InertialLinks | None = None
        self._buffer = OdometryBuffer()
        self._odom_covariance = UNKNOWN
        self._pending = Pending()
        self._alignment: FixAlignment | None = FixAlignment(self.config.gnss_baseline)  # None once it is made
        self._job: SolveJob | None = None
        self._solver: IncrementalSolver | None = None
        self._dirty = False
        self._resumed = False       # the newest keyframe comes from a file; the chain must be tied to it
        self._full = False
        self._generation += 1

    # --- inputs ----------------------------------------------------------------------------------

    def add_imu(self, stamp_ns: int, sample: NDArray, bias: NDArray, source: ImuSource) -> None:
        """A sample (6,) [gyroscope rad/s, accelerometer m/s^2] that somebody has checked, and the biases (6,) that he
        estimates. From the first on keyframes are linked by inertial factors too, and each solve is one of all.

        Args:
            source: what the samples are; another one begins anew.
        """
        if self.config.robust == 'pcm':
            raise ValueError('robust: pcm compares poses; use none, huber or gnc with inertial factors')
        if self.inertial is None or self.inertial.source is not source:
            self.inertial = InertialLinks(source, len(self.keyframes))
            self._solver = None
        self.inertial.add_sample(stamp_ns, sample, bias)

    def add_odometry(self, stamp_ns: int, T_odom_base: NDArray, covariance: NDArray | None = None) -> Verdict:
        """A pose of the base in odometry's frame; perhaps a keyframe.

        Args:
            covariance: (6, 6) in ROS order; zeros or None = unknown.
        """
        if stamp_ns <= 0:
            return Verdict.ZERO_STAMP
        answer = check_odometry(T_odom_base, covariance)
        if not answer.accepted:
            return answer
        if self.T_odom_base is not None and stamp_ns <= self.stamp_ns:
            if self.stamp_ns - stamp_ns <= self.config.reset_backward_jump * 1e9:
                return Verdict.DUPLICATE if stamp_ns == self.stamp_ns else Verdict.OUT_OF_ORDER
            self.reset('the clock jumped backwards')
            answer = Verdict.RESET
        self._finish()
        pose = np.array(T_odom_base, float)
        pose[3:] /= np.linalg.norm(pose[3:])
        leapt = 0.0
        if self.T_odom_base is not None and not self._resumed:
            elapsed = (stamp_ns - self.stamp_ns) * 1e-9
            if leapt := leap(self.T_odom_base, pose, elapsed, self.config.max_speed):
                self._say('warning', f'odometry leapt by {leapt:.1f} m in {elapsed:.2f} s: its source was restarted')
        self.stamp_ns, self.T_odom_base = stamp_ns, pose
        self._odom_covariance = UNKNOWN if covariance is None or not covariance.any() else covariance
        self._buffer.append(stamp_ns, pose, leapt=leapt > 0)
        own = self.inertial is not None and len(self.keyframes) > 0     # what waited gets keyframes, in their order
        if own:
            self._insert_due(stamp_ns)
        self._resumed |= leapt > 0      # the robot is where it was, the frame of odometry is another
        self._maybe_keyframe(stamp_ns, pose)
        if not own:
            self._insert_due(stamp_ns)
        return answer

    def _insert_due(self, stamp_ns: int) -> None:
        """What waited for odometry to come this far."""
        for kind, add in self._pending.due(stamp_ns, self.config.pending_timeout):
            if add is None:
                self._say('warning', f'{kind} dropped: odometry has passed its stamp without covering it')
            else:
                add()

    def _maybe_keyframe(self, stamp_ns: int, pose: NDArray) -> None:
        config = self.config
        if len(self.keyframes) and not self._resumed:
            last_ns, last = int(self.keyframes['stamp_ns'][-1]), self.keyframes['odom'][-1]
            way = float(np.linalg.norm(pose[:3] - last[:3]))
            q = compose(inverse(last), pose)[3:]
            waited = config.keyframe_time and (stamp_ns - last_ns) * 1e-9 >= config.keyframe_time
            if way < config.keyframe_distance and angle_of(q) < config.keyframe_angle and not waited:
                return
        self._add_keyframe(stamp_ns, pose)

    def _own_keyframe(self, stamp_ns: int) -> None:
        """Between the newest keyframe and the present, for a measurement that comes late or has waited: inertial
        factors are exact where odometry may be poor, and lead to the very time of it."""
        if self.inertial is None or self._resumed or not len(self.keyframes):
            return
        pose = self._buffer.at(stamp_ns, round(self.config.stamp_tolerance * 1e9))
        if pose is not None and stamp_ns - int(self.keyframes['stamp_ns'][-1]) >= LEAST_SPACING_NS:
            self._add_keyframe(stamp_ns, pose)

    def _add_keyframe(self, stamp_ns: int, pose: NDArray) -> None:
        count, limit, covariance = len(self.keyframes), self.config.max_nodes, self._odom_covariance
        if limit and count >= limit:
            if not self._full:
                self._full = True
                self._say('warning', f'max_nodes = {limit} keyframes are reached: no more are made')
            return
        if count and self._resumed:
            # Where it is in the map is taken over; how it got there nobody measured.
            estimate = self.keyframes['pose'][-1].copy()
            self.T_map_odom = compose(estimate, inverse(pose))
            measured, information = IDENTITY, np.diag(np.repeat(BREAK_SIGMA, 3) ** -2.0)
        elif count:
            before = self.keyframes['odom_covariance'][-1]
            known = np.isfinite(before[0, 0]) and np.isfinite(covariance[0, 0])
            measured, information = link(
                self.keyframes['odom'][-1], pose, before if known else None, covariance if known else None,
                self.config.odometry_sigma, self.config.odometry_drift, model=self.config.odometry_model,
                seconds=1e-9 * (stamp_ns - int(self.keyframes['stamp_ns'][-1])))
            estimate = compose(self.keyframes['pose'][-1], measured)
        else:
            estimate = compose(self.T_map_odom, pose)
            self.covariance = np.eye(6) * TIGHT_SIGMA ** 2
        number = int(self.keyframes['id'][-1]) + 1 if count else 0
        if self.inertial is not None:
            # Across a leap of odometry too: the IMU has felt the way all the same.
            self.inertial.add_keyframe(int(self.keyframes['stamp_ns'][-1]) if count else None, stamp_ns)
        self.keyframes.append(id=number, stamp_ns=stamp_ns, odom=pose, odom_covariance=covariance, pose=estimate)
        if count:
            self._append_edge(EdgeKind.ODOMETRY, count - 1, count, measured, information, 'odometry')
            self.covariance = carried(self.covariance, self.keyframes['pose'][count - 1], estimate, information)
        self._resumed = False

    def _append_edge(self, kind: EdgeKind, i: int, j: int, measured: NDArray, information: NDArray,
                     source: str) -> None:
        if source not in self.sources:
            self.sources.append(source)
        self.edges.append(kind=kind, ends=(i, j), measured=measured, information=information, rejected=False,
                          chi2=0.0, source=self.sources.index(source))

    def add_edge(self, edge: EdgeInput) -> tuple[Verdict, str]:
        """A relative pose between two keyframes, most often a loop closure; the answer and a sentence."""
        usable = usable_edge(edge, self.config.loop_sigma)
        if isinstance(usable, Verdict):
            sentence = 'dropped: the information is not symmetric positive semidefinite'
            return usable, sentence if usable is Verdict.BAD_COVARIANCE else str(usable)
        source = usable.source or 'a front-end'
        newest = max((s for s in (usable.from_stamp_ns, usable.to_stamp_ns) if s is not None), default=0)
        if newest > self.stamp_ns:
            if not self._pending.add(newest, f'edge from {source}', lambda: self._insert(usable)):
                return Verdict.TOO_NEW, 'dropped: too many measurements wait for odometry'
            return Verdict.QUEUED, 'accepted; it enters when odometry has reached its stamps'
        return self._insert(usable)

    def _insert(self, edge: EdgeInput) -> tuple[Verdict, str]:
        ends, transform = [], edge.transform
        for number, stamp_ns, last in ((edge.from_id, edge.from_stamp_ns, False), (edge.to_id, edge.to_stamp_ns, True)):
            row, T_keyframe_then = self._end(number, stamp_ns)
            if row is None:
                name = f'keyframe {number}' if stamp_ns is None else f'a keyframe near stamp {stamp_ns}'
                return self._refuse(edge, f'there is no {name}')
            if last:
                transform = compose(transform, inverse(T_keyframe_then))
            else:
                transform = compose(T_keyframe_then, transform)
            ends.append(row)
        if ends[0] == ends[1]:
            return self._refuse(edge, 'both ends are the same keyframe')
        self._append_edge(edge.kind if edge.kind is not EdgeKind.ODOMETRY else EdgeKind.LOOP, ends[0], ends[1],
                          transform, edge.information, edge.source)
        self._dirty = True
        return Verdict.ACCEPTED, f'accepted between keyframes {self._id(ends[0])} and {self._id(ends[1])}'

    def _id(self, row: int) -> int:
        return int(self.keyframes['id'][row])

    def _end(self, number: int, stamp_ns: int | None) -> tuple[int | None, NDArray]:
        """Row of the keyframe that an edge's end names, and T_keyframe_then where a stamp is not the keyframe's."""
        if stamp_ns is None:
            row = int(np.searchsorted(self.keyframes['id'], number))
            found = row < len(self.keyframes) and self._id(row) == number
            return (row if found else None), IDENTITY
        return self._nearest(stamp_ns)

    def _nearest(self, stamp_ns: int) -> tuple[int | None, NDArray]:
        """The keyframe nearest to a stamp and T_keyframe_then by odometry, which knows the way between the two."""
        self._own_keyframe(stamp_ns)
        row, then = self._buffer.nearest(
            self.keyframes['stamp_ns'], stamp_ns, round(self.config.stamp_tolerance * 1e9))
        return row, IDENTITY if then is None else compose(inverse(self.keyframes['odom'][row]), then)

    def _refuse(self, edge: EdgeInput, reason: str) -> tuple[Verdict, str]:
        self._events.add(LoopEvent(edge.from_id, edge.to_id, False, reason, float('nan')))
        return Verdict.TOO_OLD, f'dropped: {reason}'

    def add_pose(self, stamp_ns: int, T_map_base: NDArray, covariance: NDArray) -> Verdict:
        """The robot's pose in the map, from outside (AMCL, motion capture, a surveyed marker).

        Args:
            covariance: (6, 6) ROS order about the map's axes; zeros = unknown.
        """
        if stamp_ns <= 0:
            return Verdict.ZERO_STAMP
        verdict = check_pose(T_map_base)
        usable = usable_covariance(covariance, self.config.pose_sigma) if verdict.accepted else verdict
        if isinstance(usable, Verdict):
            return usable
        pose, information = np.array(T_map_base, float), np.linalg.inv(usable)
        return self._when_reached(stamp_ns, 'pose', lambda: self._insert_pose(stamp_ns, pose, information))

    def _when_reached(self, stamp_ns: int, kind: str, insert) -> Verdict:
        if stamp_ns <= self.stamp_ns:
            return insert()
        return Verdict.QUEUED if self._pending.add(stamp_ns, kind, insert) else Verdict.TOO_NEW

    def _insert_pose(self, stamp_ns: int, pose: NDArray, information: NDArray) -> Verdict:
        row, T_keyframe_then = self._nearest(stamp_ns)
        if row is None:
            return Verdict.TOO_OLD
        pose = compose(pose, inverse(T_keyframe_then))
        if not len(self.priors):
            self._move_map(compose(pose, inverse(self.keyframes['pose'][row])))
        self.priors.append(kind=PriorKind.POSE, keyframe=row, measured=pose, offset=np.zeros(3),
                           information=information, rejected=False, chi2=0.0)
        self._dirty = True
        return Verdict.ACCEPTED

    def add_fix(self, stamp_ns: int, latitude: float, longitude: float, height: float,
                covariance: NDArray | None = None) -> Verdict:
        """A satellite fix: degrees, and metres above the ellipsoid. The first is the datum.

        Args:
            covariance: (3, 3) m^2 east, north, up; None or zeros = unknown.
        """
        if stamp_ns <= 0:
            return Verdict.ZERO_STAMP
        if not np.isfinite([latitude, longitude, height]).all() or abs(latitude) > 90 or abs(longitude) > 360:
            return Verdict.NOT_FINITE
        if self.local_frame is None:
            self.local_frame = LocalFrame(latitude, longitude, height)
        return self.add_position(stamp_ns, self.local_frame(latitude, longitude, height), covariance)

    def add_position(self, stamp_ns: int, position: NDArray, covariance: NDArray | None = None) -> Verdict:
        """The antenna's position (3,) in a frame whose z points up; its heading against ours comes out of the way."""
        if stamp_ns <= 0:
            return Verdict.ZERO_STAMP
        if not np.isfinite(position).all():
            return Verdict.NOT_FINITE
        usable = usable_fix_covariance(covariance, self.config.gnss_sigma)
        if isinstance(usable, Verdict):
            return usable
        position, information = np.array(position, float), np.linalg.inv(usable)
        return self._when_reached(stamp_ns, 'fix', lambda: self._insert_fix(stamp_ns, position, information))

    def _insert_fix(self, stamp_ns: int, position: NDArray, information: NDArray) -> Verdict:
        row, T_keyframe_then = self._nearest(stamp_ns)
        if row is None:
            return Verdict.TOO_OLD
        lever = np.array([*self.config.gnss_lever, 0, 0, 0, 1])
        offset = compose(T_keyframe_then, lever)[:3]
        fix = Fix(row, position, offset, information)
        if self._alignment is None or len(self.priors):
            self._append_fix(fix)
            return Verdict.ACCEPTED
        T_new_old = self._alignment.add(fix, self.keyframes['pose'])
        if T_new_old is not None:
            fixes, self._alignment = self._alignment.fixes, None
            self._move_map(T_new_old)
            for fix in fixes:
                self._append_fix(fix)
            degrees = np.degrees(2 * np.arctan2(T_new_old[5], T_new_old[6]))
            self._say('info', f'the map is aligned with satellite navigation: turned by {degrees:.1f} degrees')
        return Verdict.ACCEPTED

    def _append_fix(self, fix: Fix) -> None:
        full = np.zeros((6, 6))
        full[:3, :3] = fix.information
        self.priors.append(kind=PriorKind.POSITION, keyframe=fix.row, measured=np.append(fix.position, [0, 0, 0, 1]),
                           offset=fix.offset, information=full, rejected=False, chi2=0.0)
        self._dirty = True

    def _move_map(self, T_new_old: NDArray) -> None:
        for pose in self.keyframes['pose']:
            pose[:] = compose(T_new_old, pose)
        self.T_map_odom = compose(T_new_old, self.T_map_odom)
        if self.inertial is not None:
            self.inertial.turn(rotation_matrix(T_new_old[3:]))
        self._generation += 1           # a solve under way is one of the old map
        self._job = self._solver = None

    # --- solving ---------------------------------------------------------------------------------

    def begin_solve(self, *, max_iterations: int | None = None, force: bool = False) -> SolveJob | None:
        """A job for a worker; None where nothing new is known, one is running, or all is paused.

        Args:
            max_iterations: instead of the configured ones.
            force: solve the whole graph, whatever is new.
        """
        self._finish()
        wanted = force or (self._dirty and not self.paused)
        if not wanted or self._job is not None or len(self.keyframes) < 2:
            return None
        self._dirty = False
        limits: dict[str, Any] = {
            'max_iterations': max_iterations or self.config.max_iterations, 'generation': self._generation}
        if force or self.inertial is not None or self.config.robust in JUDGES:
            self._solver = None         # what it has is out of date after this
            graph = (self.config, self.keyframes['pose'].copy(), self.edges.rows(0, EDGE_COLUMNS),
                     self.priors.rows(0, PRIOR_COLUMNS))
            self._job = BatchJob(*graph, **limits) if self.inertial is None else InertialJob(
                *graph, self.inertial, self.keyframes['stamp_ns'], **limits)
            return self._job
        if self._solver is None or self._solver.absolute != bool(len(self.priors)):
            self._solver = IncrementalSolver(self.config, absolute=bool(len(self.priors)))
        solver = self._solver
        self._job = IncrementalJob(
            solver, self.keyframes['pose'][solver.keyframes:].copy(), self.edges.rows(solver.edges, EDGE_COLUMNS),
            self.priors.rows(solver.priors, PRIOR_COLUMNS), **limits)
        return self._job

    def solve(self, *, max_iterations: int | None = None) -> SolveJob | None:
        """Solve here and now, converging as far as `max_iterations` lets it."""
        job = self.begin_solve(max_iterations=max_iterations, force=True)
        if job is not None:
            job.run()
            self._finish()
        return job

    def poll(self) -> bool:
        """Take over the result of a job that has ended; whether there was one."""
        before = self.last_job
        self._finish()
        return self.last_job is not before

    def _finish(self) -> None:
        job = self._job
        if job is None or not job.done:
            return
        self._job, self.last_job = None, job
        found = job.solution
        self.solves.append(stamp_ns=self.stamp_ns, duration=job.duration, size=job.size, success=found is not None,
                           cost=np.nan if found is None else (found.cost_initial, found.cost_final))
        if job.generation != self._generation:
            return
        if job.solution is None:
            self._say('warning', f'a solve failed, the last good estimate stays: {job.problem}')
            if isinstance(job, IncrementalJob):
                self._leave_out(job)
            return
        solution, known = job.solution, len(job.solution.poses)
        newest = solution.poses[-1]
        poses = self.keyframes['pose']
        moved = compose(newest, inverse(poses[known - 1]))
        poses[:known] = solution.poses
        for pose in poses[known:]:
            pose[:] = compose(moved, pose)
        self.T_map_odom = compose(poses[-1], inverse(self.keyframes['odom'][-1])) if not self._resumed else compose(
            moved, self.T_map_odom)
        self.covariance = solution.covariance
        for row in ((self.edges['kind'] == EdgeKind.ODOMETRY) & (self.edges['ends'][:, 1] >= known)).nonzero()[0]:
            i, j = self.edges['ends'][row]
            self.covariance = carried(self.covariance, poses[i], poses[j], self.edges['information'][row])
        self.revision += 1
        if solution.states is not None:
            assert self.inertial is not None        # the states are of its variables
            self.inertial.take(solution.states)
        for event in judge_edges(self.config, self.keyframes['id'], self.edges, *solution.edges):
            self._events.add(event)
        rows, self.priors['chi2'][rows], self.priors['rejected'][rows] = solution.priors

    def _leave_out(self, job: IncrementalJob) -> None:
        """The loops and priors that came with a solve that failed: one of them is to blame."""
        solver = job.solver
        rows = solver.edges + (job.edges['kind'] != EdgeKind.ODOMETRY).nonzero()[0]
        self.edges['rejected'][rows] = True
        priors = slice(solver.priors, solver.priors + len(job.priors['kind']))
        self.priors['rejected'][priors] = True
        for k in rows:
            i, j = self.edges['ends'][k]
            reason = f'could not be solved with: {job.problem}'
            self._events.add(LoopEvent(self._id(i), self._id(j), False, reason, np.nan))
        if not len(rows) and not len(job.priors['kind']):
            self._solver = None         # it was none of them: begin with a fresh one
        self._dirty = True

    # --- outputs ---------------------------------------------------------------------------------

    @property
    def T_map_base(self) -> NDArray | None:
        """(7,) at the newest odometry; None before the first."""
        return None if self.T_odom_base is None else compose(self.T_map_odom, self.T_odom_base)

    @property
    def solving(self) -> bool:
        return self._job is not None and not self._job.done

    def take_events(self) -> list[LoopEvent]:
        return self._events.take()

    def take_messages(self) -> list[tuple[str, str]]:
        """(severity, sentence) for the log."""
        return self._messages.take()

    def _say(self, severity: str, sentence: str) -> None:
        self._messages.add((severity, sentence))

    def reset(self, reason: str) -> None:
        """Forget everything."""
        self._clear()
        self._say('warning', f'the map begins anew: {reason}')

    # --- files -----------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the session: a g2o file that any tool reads, with what else we know in its comments, and a sidecar of
        ids and stamps; or a trajectory, where the name ends in .tum. A file appears whole or not at all.

        Raises:
            OSError: it cannot be written.
            ValueError: there is nothing to write.
        """
        datum = None if self.local_frame is None else self.local_frame.datum
        write_session(Path(path), SessionFile(self.keyframes, self.edges, self.priors, self.sources, datum))

    def load(self, path: str | Path) -> None:
        """Go on with a saved session: new odometry is tied to its last keyframe by a link that nothing measured, for
        a loop closure or an absolute pose to tighten. Nothing changes where the file is no good.

        Raises:
            SessionError: it names file, line and fault.
        """
        session = read_session(Path(path))
        self._clear()
        self.keyframes, self.edges, self.priors = session.keyframes, session.edges, session.priors
        self.sources = session.sources
        self.local_frame = None if session.datum is None else LocalFrame(*session.datum)
        if len(self.priors):
            self._alignment = None
        last = self.keyframes['pose'][-1]
        self.T_map_odom = compose(last, inverse(self.keyframes['odom'][-1]))
        self._resumed = True
        self._dirty = True
