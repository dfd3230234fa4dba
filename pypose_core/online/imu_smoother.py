"""Inertial odometry with corrections: a fixed-lag smoother that answers at the rate of the IMU."""
from collections import Counter
from dataclasses import replace

import numpy as np

from pypose_core.online import correction as corrections
from pypose_core.online.config import ImuSmootherConfig
from pypose_core.online.correction import Correction
from pypose_core.online.fixed_lag import FixedLagWindow, Keyframe, SolveJob
from pypose_core.online.imu_buffer import ImuBuffer
from pypose_core.online.imu_front_end import Corrector, ImuFrontEnd, fits
from pypose_core.online.initialization import given_state, is_static, static_state
from pypose_core.online.initializer import Initializer, Start
from pypose_core.online.output import ImuOutput
from pypose_core.online.placement import POSE, placed, placed_level
from pypose_core.online.propagation import FINE, SAMPLE_NOT_FINITE, ImuPropagator
from pypose_core.online.verdict import Status, Verdict


class ImuSmoother:
    """Pose, velocity and biases of a robot from its IMU and from corrections of its pose.

    Every correction makes a keyframe. Keyframes are linked by preintegrated IMU factors and estimated
    jointly over a window; older ones are marginalized. Between solves the newest keyframe is
    propagated through the samples since, one native call each. Corrections may come late: they enter
    at their own stamp, and the propagation starts again from the buffer.

        smoother = ImuSmoother(config, T_base_imu=extrinsic)
        for message in recording:
            smoother.add_imu(stamp_ns, sample)            # or add_pose, add_odometry
            smoother.solve()                              # or begin_solve() and a worker thread
            if smoother.output is not None: ...

    Measurements that cannot be used are answered by a `Verdict` and counted in `counters`; what a
    person should know is in `take_events()`. Nothing here raises for bad data.

    Args:
        config: parameters.
        T_base_imu: (7,) pose of the IMU in the base frame.
    """

    def __init__(self, config: ImuSmootherConfig, *, T_base_imu=(0, 0, 0, 0, 0, 0, 1)):
        self.config = config
        self.T_base_imu = np.array(T_base_imu, dtype=np.float64)
        if corrections.check_pose(self.T_base_imu) is not Verdict.ACCEPTED:
            raise ValueError(f'T_base_imu is {T_base_imu}; it must be [x y z qx qy qz qw] with a unit quaternion')
        self.counters: Counter[str] = Counter()
        """Measurements by verdict's name, and resets, divergences and failed solves."""
        self.last_job: SolveJob | None = None
        """The newest finished solve, for its status, iterations and duration."""
        self._time_offset_ns = round(config.time_offset * 1e9)
        self._propagator = ImuPropagator(config, corrections.inverse(self.T_base_imu))
        self._output = ImuOutput(self._propagator.values)
        self._events: list[tuple[str, str]] = []
        self._initializer = Initializer(config)
        self._front_end = ImuFrontEnd(config.noise)
        self._clear()

    # --- state -----------------------------------------------------------------------------------

    def _clear(self) -> None:
        """Forget every measurement; the IMU's unit and the counters stay."""
        self.status = Status.WAITING
        self._buffer = ImuBuffer()
        self._front_end.reset()
        if self._front_end.corrector is not None:
            self._buffer.keep_densities(self._front_end.given)
        self._window = FixedLagWindow(self.config, self._buffer, self._propagator.noise,
                                      corrections.inverse(self.T_base_imu))
        self._pending: list[Correction] = []
        self._job: SolveJob | None = None
        self._last_ns = 0
        self._last_dt = 0.0
        self._correction_ns: int | None = None      # set where there are keyframes, so wherever it is read
        self._odometry: tuple[int, np.ndarray] | None = None
        self._placed = False
        self._converged = False
        self._preintegrated: list[tuple[Keyframe, Keyframe]] = []

    def reset(self, reason: str = 'on request') -> None:
        """Start from nothing, as after construction."""
        self._event('warning', f'reset: {reason}')
        self.counters['resets'] += 1
        self._initializer.place = None
        self._clear()

    @property
    def output(self) -> ImuOutput | None:
        """The estimate at the newest IMU sample; None while the estimator is initializing."""
        return self._output if self.status.has_output else None

    @property
    def newest_sample(self) -> tuple[int, np.ndarray]:
        """Stamp (with the time offset) and the sample (6,) taken last, in rad/s and m/s^2; a view."""
        return self._last_ns, self._buffer.samples[-1]

    @property
    def keyframes(self) -> list[Keyframe]:
        """The window, oldest first."""
        return self._window.keyframes

    def take_events(self) -> list[tuple[str, str]]:
        """(severity, sentence) of what happened since the last call."""
        events, self._events = self._events, []
        return events

    def take_preintegrated(self) -> list[tuple[Keyframe, Keyframe]]:
        """(earlier, later) keyframes whose IMU factor became final since the last call."""
        links, self._preintegrated = self._preintegrated, []
        return links

    def _event(self, severity: str, sentence: str) -> None:
        self._events.append((severity, sentence))

    def _count(self, verdict: Verdict) -> Verdict:
        self.counters[verdict.name.lower()] += 1
        return verdict

    # --- IMU -------------------------------------------------------------------------------------

    def add_imu(self, stamp_ns: int, sample: np.ndarray, orientation: np.ndarray | None = None) -> Verdict:
        """Take one IMU sample and renew the output.

        Args:
            stamp_ns: ns.
            sample: (6,) float64, gyroscope rad/s and accelerometer m/s^2 in the IMU's frame.
            orientation: (4,) the message's own attitude, for init.mode 'orientation'.
        """
        if stamp_ns <= 0:
            return self._count(Verdict.ZERO_STAMP)
        job = self._job
        if job is not None and job.done:
            self._finish(job)
        stamp_ns += self._time_offset_ns
        elapsed_ns = stamp_ns - self._last_ns
        scale = self._initializer.accel_scale
        if scale != 1.0 and scale > 0.0:
            sample = np.concatenate([sample[:3], sample[3:] * scale])
        if elapsed_ns <= 0 or not self._converged or elapsed_ns > self.config.max_imu_gap * 1e9:
            return self._add_unusual(stamp_ns, sample, orientation)

        dt, density = elapsed_ns * 1e-9, None
        if self._front_end.busy:
            if not np.isfinite(sample).all():
                return self._count(Verdict.NOT_FINITE)
            sample, density = self._correct(sample)
        outcome = self._propagator.advance(sample, dt, density)
        if outcome == SAMPLE_NOT_FINITE:
            return self._count(Verdict.NOT_FINITE)
        self._buffer.append(stamp_ns, sample, density)
        self._last_ns, self._last_dt, self._output.stamp_ns = stamp_ns, dt, stamp_ns
        if outcome != FINE:
            self._diverged(f'the speed exceeds max_velocity ({self.config.max_velocity} m/s) or is not finite')
        elif stamp_ns - self._correction_ns > self.config.correction_timeout * 1e9:   # type: ignore[operator]
            self.status = Status.STALE
        return Verdict.ACCEPTED

    def _add_unusual(self, stamp_ns: int, sample: np.ndarray, orientation: np.ndarray | None) -> Verdict:
        """A sample out of order, after a gap, or before the estimator runs."""
        verdict = Verdict.ACCEPTED
        if self._last_ns:
            elapsed = (stamp_ns - self._last_ns) * 1e-9
            if elapsed == 0:
                return self._count(Verdict.DUPLICATE)
            if elapsed < -self.config.reset_backward_jump:
                self.reset(f'the clock jumped back by {-elapsed:.3f} s')
                verdict = self._count(Verdict.RESET)
            elif elapsed < 0:
                return self._count(Verdict.OUT_OF_ORDER)
        if not np.isfinite(sample).all():
            return self._count(Verdict.NOT_FINITE)
        if self._last_ns:
            if elapsed > self.config.reinit_gap:
                self._event('warning', f'gap of {elapsed:.3f} s in the IMU, longer than reinit_gap: initializing again')
                self._start_again()
                verdict = self._count(Verdict.REINITIALIZED)
            elif elapsed > self.config.max_imu_gap:
                self._event('warning', f'gap of {elapsed:.3f} s in the IMU: the covariance is inflated')
                self._front_end.reset()
                verdict = self._count(Verdict.GAP)

        dt, density = (stamp_ns - self._last_ns) * 1e-9 if self._last_ns else 0.0, None
        if self._front_end.busy and self._initializer.accel_scale > 0:
            sample, density = self._correct(sample)
        self._buffer.append(stamp_ns, sample, density)
        self._last_ns, self._last_dt, self._output.stamp_ns = stamp_ns, dt, stamp_ns
        if not self._window.keyframes:
            self._initialize(stamp_ns, orientation)
        elif self._propagator.advance(sample, dt, density) != FINE:
            self._diverged('the state is not finite or too fast')
        return verdict

    # --- learned front-end -----------------------------------------------------------------------

    @property
    def corrector(self) -> Corrector | None:
        """What corrects the samples now."""
        return self._front_end.corrector

    def use_corrector(self, corrector: Corrector) -> str:
        """Let samples pass through a corrector, once it has seen as many as it needs; the output goes on meanwhile.

        Its densities and random walks are then the estimator's. Where two correctors disagree about standing still,
        the estimated biases move by the difference, so that a change of them is no jerk.

        Returns:
            Why it cannot be used, or nothing.
        """
        reason = fits(corrector, self._buffer.stamps)
        if not reason:
            self._front_end.begin(corrector, at_once=len(self._buffer) == 0)
            self._buffer.keep_densities(self._front_end.given)
            if self._front_end.corrector is corrector:
                self._propagator.use_walk(*self._front_end.walk)
        return reason

    def _correct(self, sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The corrected sample and its densities; between two samples the next corrector takes over."""
        if self._front_end.due and self._job is None:
            self._change_corrector()
        return self._front_end.step(sample), self._front_end.density

    def _change_corrector(self) -> None:
        if self._window.keyframes:
            state = self._output.state
            at_rest = state[10:].copy()
            at_rest[3:] += corrections.rotation_matrix(state[3:7]).T @ [0, 0, self.config.gravity]
        else:
            at_rest = self._buffer.samples.mean(axis=0)
        change = self._front_end.change(at_rest)
        self._buffer.samples[:] += change
        if self._window.keyframes:
            self._window.move_biases(change)
            self._propagator.move_biases(change)
        self._propagator.use_walk(*self._front_end.walk)
        self.counters['corrector_changes'] += 1
        self._event('info', f'another corrector is in use; the biases move by {np.round(change, 4).tolist()}')

    # --- initialization --------------------------------------------------------------------------

    def _initialize(self, stamp_ns: int, orientation: np.ndarray | None) -> None:
        """Look whether the samples so far give the first state."""
        known = self._initializer.accel_scale > 0
        sentence = self._initializer.recognize_unit(self._buffer, stamp_ns)
        if sentence is not None:
            self._event('warning', sentence)
        if not known and self._initializer.accel_scale > 0:
            for sample in self._buffer.samples if self._front_end.busy else ():
                sample[:] = self._front_end.step(sample)
        found = self._initializer.look(self._buffer, stamp_ns, orientation, self._pending)
        if not isinstance(found, Start):
            self.status = found
            return
        reason = fits(self.corrector, self._buffer.stamps) if self.corrector is not None else ''
        if reason:
            self._front_end.drop()
            self.reset(f'the corrector cannot be used: {reason}')
            return
        if found.correction is not None:
            self._correction_ns = found.stamp_ns
            self._placed = True
        self._start(found.stamp_ns, found.state, found.covariance)

    def _start(self, stamp_ns: int, state: np.ndarray, covariance: np.ndarray) -> None:
        """Begin the window at a stamp that the buffer covers, and propagate from there to the newest sample."""
        self._pending = [c for c in self._pending if c.stamp_ns > stamp_ns]
        self._window.start(stamp_ns, state, covariance)
        self._initializer.place = None
        if self._correction_ns is None or self._correction_ns > self._last_ns:
            self._correction_ns = stamp_ns       # correction_timeout counts from here
        self._anchor(state, covariance)

    def _anchor(self, state: np.ndarray, covariance: np.ndarray) -> None:
        """Propagate from the newest keyframe of the window."""
        pieces = self._buffer.interval(self._window.last.stamp_ns, self._last_ns)
        self._propagator.anchor(state, covariance, pieces, self._buffer.samples[-1], self._last_dt)
        if not self._converged:
            sigma = np.sqrt(self._output.covariance.diagonal()[3:6].max())
            self._converged = bool(sigma <= self.config.init.max_velocity_sigma)
            self.status = Status.RUNNING if self._converged else Status.CONVERGING

    def _start_again(self) -> None:
        """Initialize anew, but where the estimate was: the odometry frame stays continuous."""
        if self.status.has_output:
            self._initializer.place = self._output.state[:7].copy(), self._output.covariance[np.ix_(POSE, POSE)]
        self._clear()

    def _diverged(self, reason: str) -> None:
        self.counters['divergences'] += 1
        self._event('error', f'the estimate diverged: {reason}; starting again from the last good keyframe')
        good = self._window.last.state
        covariance = np.diag(np.repeat([self.config.init.attitude_sigma**2, self.config.init.position_sigma**2], 3))
        samples, stamps = self._buffer.samples[-1:].copy(), self._buffer.stamps[-1:].copy()
        placed_already = self._placed
        self._clear()
        self._placed = placed_already
        self._buffer.append(int(stamps[0]), samples[0])
        self._last_ns = int(stamps[0])
        self._start(self._last_ns, *given_state(good[:7], covariance, self.config.init,
                                                velocity_sigma=self.config.init.velocity_sigma))

    # --- corrections -----------------------------------------------------------------------------

    def add_pose(self, stamp_ns: int, T_odom_base: np.ndarray, covariance: np.ndarray) -> Verdict:
        """Take an absolute correction.

        Args:
            stamp_ns: ns; may be older than the newest IMU sample, by up to the window.
            T_odom_base: (7,) pose of the base.
            covariance: (6, 6) ROS order; zeros on the diagonal are unknown and replaced by pose_sigma.
        """
        verdict, T_odom_base, usable = self._check(stamp_ns, T_odom_base, covariance, self.config.pose_sigma)
        if usable is None:
            return self._count(verdict)
        correction = corrections.absolute(stamp_ns, T_odom_base, usable, self.T_base_imu)
        if not self._window.keyframes:
            return self._count(self._start_at(correction))
        if self._job is None:
            existing = self._window.at(stamp_ns)
            if existing is not None and existing.poses:
                return self._count(Verdict.DUPLICATE)
        if not self._placed and self.config.init.mode != 'pose':
            return self._count(self._place(correction, level=True))
        return self._count(self._enqueue(correction))

    def add_odometry(self, stamp_ns: int, T_ref_base: np.ndarray, covariance: np.ndarray) -> Verdict:
        """Take a pose from an odometry that drifts: its change since the message before is the correction.

        Args:
            stamp_ns: ns, later than the one before.
            T_ref_base: (7,) pose of the base in the odometry's own frame.
            covariance: (6, 6) ROS order, taken as that of the change since the message before; zeros on
                the diagonal are unknown and replaced by odometry_sigma.
        """
        verdict, T_ref_base, usable = self._check(stamp_ns, T_ref_base, covariance, self.config.odometry_sigma)
        if usable is None:
            return self._count(verdict)
        before = self._odometry
        if before is not None and stamp_ns <= before[0]:
            return self._count(Verdict.DUPLICATE if stamp_ns == before[0] else Verdict.OUT_OF_ORDER)
        if not self._window.keyframes:
            return self._count(Verdict.NOT_INITIALIZED)
        if stamp_ns < self._window.first.stamp_ns:
            return self._count(Verdict.TOO_OLD)
        self._odometry = stamp_ns, T_ref_base.copy()
        if before is None:
            return self._count(Verdict.ACCEPTED)
        return self._count(self._enqueue(corrections.increment(*before, stamp_ns, T_ref_base, usable, self.T_base_imu)))

    def _check(self, stamp_ns, pose, covariance, sigma) -> tuple[Verdict, np.ndarray, np.ndarray | None]:
        """Verdict, the pose with its quaternion renormalized, and a positive definite covariance."""
        pose = np.array(pose, dtype=np.float64)
        verdict = corrections.check_pose(pose)
        if stamp_ns <= 0:
            verdict = Verdict.ZERO_STAMP
        if not verdict.accepted:
            return verdict, pose, None
        pose[3:] /= np.linalg.norm(pose[3:])
        usable = corrections.usable_covariance(np.asarray(covariance, dtype=np.float64), sigma)
        return (usable, pose, None) if isinstance(usable, Verdict) else (verdict, pose, usable)

    def _enqueue(self, correction: Correction) -> Verdict:
        if correction.stamp_ns < self._window.first.stamp_ns:
            return Verdict.TOO_OLD
        lead = (correction.stamp_ns - self._last_ns) * 1e-9
        if lead > self.config.max_correction_lead:
            return Verdict.TOO_NEW
        self._pending.append(correction)
        return Verdict.QUEUED if lead > 0 else Verdict.ACCEPTED

    def _start_at(self, correction: Correction) -> Verdict:
        """A pose before there is a window: in mode pose it starts it, otherwise it says where to start."""
        if self.config.init.mode != 'pose':
            self._initializer.place = correction.pose, correction.covariance
            self._placed = True
            return Verdict.ACCEPTED
        lead = (correction.stamp_ns - self._last_ns) * 1e-9
        if len(self._buffer) == 0 or lead > self.config.max_correction_lead:
            return Verdict.NOT_INITIALIZED
        self._pending.append(correction)         # the next sample starts from it
        return Verdict.QUEUED

    def _place(self, correction: Correction, *, level: bool) -> Verdict:
        """Move the whole estimate to a pose: the first absolute one says where the odometry frame is."""
        self._event('info', 'the first pose places the odometry frame: the estimate moves there')
        state, covariance = (placed_level if level else placed)(
            self._output.state, self._output.covariance, correction.pose, correction.covariance)
        self._placed = True
        self._pending.clear()
        self._job = None
        self._odometry = None
        self._correction_ns = self._last_ns
        self._start(self._last_ns, state, covariance)
        return Verdict.ACCEPTED

    def set_pose(self, T_odom_base: np.ndarray, covariance: np.ndarray) -> Verdict:
        """Put the estimate at a pose now; biases and the velocity seen from the body stay."""
        verdict, pose, usable = self._check(1, T_odom_base, covariance, self.config.pose_sigma)
        if usable is None:
            return self._count(verdict)
        correction = corrections.absolute(self._last_ns, pose, usable, self.T_base_imu)
        return self._start_at(correction) if not self._window.keyframes else self._place(correction, level=False)

    def calibrate(self, duration: float) -> tuple[bool, str]:
        """Estimate gyroscope bias and level anew from the last `duration` seconds, if the robot stood still.

        Returns:
            Whether it did, and a sentence.
        """
        config = replace(self.config.init, window=duration or self.config.init.window)
        since_ns = self._last_ns - round(config.window * 1e9)
        if not self._window.keyframes or not self._buffer.covers(since_ns):
            return False, f'the buffer does not hold {config.window} s of IMU samples yet'
        samples = self._buffer.samples[np.searchsorted(self._buffer.stamps, since_ns):]
        if not is_static(samples, config):
            return False, f'the robot did not stand still for the last {config.window} s'
        state, covariance = placed_level(*static_state(samples, config, gravity=self.config.gravity),
                                         self._output.state[:7], self._output.covariance[np.ix_(POSE, POSE)])
        self._pending.clear()
        self._job = None
        self._odometry = None
        self._start(self._last_ns, state, covariance)
        return True, f'calibrated: gyroscope bias and level are those of the last {config.window:.1f} s'

    # --- solving ---------------------------------------------------------------------------------

    def solve(self) -> bool:
        """Take in waiting corrections and solve, in this thread; returns whether there was anything to do."""
        job = self.begin_solve()
        if job is None:
            return False
        job.run()
        self._finish(job)
        return True

    def begin_solve(self) -> SolveJob | None:
        """Cut the next solve out of the window, or None where there is nothing to solve or one is under way.

        Call `job.run()` in any thread; the next `add_imu` takes up its result.
        """
        if self._job is not None or not self._window.keyframes:
            return None
        due = sorted((c for c in self._pending if c.stamp_ns <= self._last_ns), key=lambda c: c.stamp_ns)
        interval_ns = self.config.max_keyframe_interval * 1e9
        if not due and self._last_ns - self._window.last.stamp_ns < interval_ns:
            return None
        self._pending = [c for c in self._pending if c.stamp_ns > self._last_ns]
        for correction in due:
            self._window.add(correction)
            assert self._correction_ns is not None      # _start() has set it
            self._correction_ns = max(self._correction_ns, correction.stamp_ns)
        if not due:
            self._window.insert(self._last_ns)
        self._job = self._window.job()
        return self._job

    def _finish(self, job: SolveJob) -> None:
        """Take up a solve's result and propagate from it."""
        self._job, self.last_job = None, job
        solution = job.solution
        if solution is None or not solution.status.success:
            self.counters['failed_solves'] += 1
            reason = 'it raised an exception' if solution is None else str(solution.status)
            self._event('error', f'a solve failed, the last good estimate is kept: {reason}')
            self._drop_failed(job)
            return
        newest = solution.states[-1].numpy()
        config = self.config
        if (np.abs(newest[10:13]) > config.max_gyro_bias).any() or (np.abs(newest[13:]) > config.max_accel_bias).any():
            self._diverged('an estimated bias exceeds max_gyro_bias or max_accel_bias')
            return
        gone = self._window.apply(job)
        self._preintegrated += zip(gone, [*gone[1:], self._window.first])
        self._buffer.forget_before(self._window.first.stamp_ns)
        self._anchor(newest, solution.covariance.numpy())
        if self._converged:
            assert self._correction_ns is not None      # _start() has set it
            fresh = self._last_ns - self._correction_ns <= config.correction_timeout * 1e9
            self.status = Status.RUNNING if fresh else Status.STALE

    def _drop_failed(self, job: SolveJob) -> None:
        """A window that cannot be solved is replaced by the estimate as it stands."""
        state, covariance = self._output.state.copy(), self._output.covariance.copy()
        self._pending.clear()
        self._odometry = None
        try:
            self._start(self._last_ns, state, covariance)
        except np.linalg.LinAlgError:
            self._diverged('its covariance is not positive definite')
