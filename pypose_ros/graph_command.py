"""`pypose-ros graph`: a session, any tool's g2o file, a bag or a simulated patrol, solved and shown as a page."""
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pypose_core.metric import Trajectory, ate
from pypose_core.online.back_end import BackEndConfig, EdgeInput, EdgeKind, PoseGraphBackEnd, SessionError
from pypose_ros.bag.config import load_parameters_of
from pypose_ros.bag.errors import BagError, RunError
from pypose_ros.bag.graph import GraphTopics, replay_graph
from pypose_ros.graph_page import write_page
from pypose_ros.nodes.pose_graph_params import NODE_NAME, PoseGraphParams, check
from pypose_ros.sim.patrol import Patrol, PatrolConfig, patrol

ITERATIONS = 100


def show_file(path: Path, out: Path, *, robust: str) -> str:
    """Solve a file and write its page; a sentence with what came of it.

    Raises:
        BagError: the file is no graph.
        RunError: it cannot be solved, or the page cannot be written.
    """
    back_end = PoseGraphBackEnd(BackEndConfig(robust=robust))
    try:
        back_end.load(path)
    except (SessionError, OSError) as error:
        raise BagError(str(error)) from None
    before = back_end.keyframes['pose'].copy()
    job = back_end.solve(max_iterations=ITERATIONS)
    found = None if job is None else job.solution
    if job is not None and found is None:
        raise RunError(f'{path}: {job.problem}')
    # Of a file the map before is what stands in it; a session's odometry is older than that.
    back_end.keyframes['odom'][:] = before
    lead = f'{path.name} as it was (dashed) and solved ({robust})'
    _write(out, back_end, title=path.stem, lead=lead)
    size = (f'{len(back_end.keyframes)} keyframes, {len(back_end.edges)} edges, '
            f'{int(back_end.edges["rejected"].sum())} rejected')
    if job is None or found is None:
        return f'{size}; nothing to solve'
    return (f'{size}; cost {found.cost_initial:.6g} → {found.cost_final:.6g} in {found.iterations} iterations, '
            f'{job.duration:.3f} s')


def show_bag(path: Path, out: Path, topics: GraphTopics, *, config: Path | None, overrides: Sequence[str],
             robust: str | None) -> str:
    """Replay a bag as pose_graph would take it and write its page; a sentence with what came of it.

    Args:
        config: parameter file of pose_graph.
        overrides: `name:=value` each.
        robust: instead of the parameter robust.method.

    Raises:
        BagError: the bag, the file or a parameter is no good.
        RunError: the page cannot be written.
    """
    params = load_parameters_of(NODE_NAME, PoseGraphParams, check, config, overrides)
    if robust is not None:
        params = replace(params, robust=replace(params.robust, method=robust))
    found = replay_graph(path, params, topics)
    back_end = found.back_end
    loop = back_end.edges['kind'] == EdgeKind.LOOP
    rejected = int(back_end.edges['rejected'][loop].sum())
    sentence = (f'{len(back_end.keyframes)} keyframes, {int(loop.sum())} loops of which {rejected} rejected, '
                f'{len(back_end.priors)} absolute measurements, {len(back_end.solves)} solves; '
                f'taken: {_counted(found.taken)}')
    if found.dropped:
        sentence += f'; dropped: {_counted(found.dropped)}'
    _write(out, back_end, title=path.stem, lead=f'Odometry alone (dashed), and the map. {sentence}')
    return sentence


def _counted(counter: dict[str, int]) -> str:
    return ', '.join(f'{count} of {name}' for name, count in sorted(counter.items()))


def show_patrol(out: Path, *, robust: str, seed: int) -> str:
    """Drive a simulated patrol of which every sixth loop names a wrong place through the back-end, loop by loop."""
    world = patrol(PatrolConfig(outliers=0.15, odometry_sigma=(0.01, 0.003), seed=seed))
    back_end = PoseGraphBackEnd(BackEndConfig(robust=robust, odometry_sigma=(0.02, 0.005), odometry_drift=(0.01, 0.01)))
    drive(back_end, world)
    rows = np.searchsorted(world.stamps_ns, back_end.keyframes['stamp_ns'])
    errors = [ate(Trajectory(world.stamps_ns[rows], poses[rows] if poses is world.odometry else poses.copy()),
                  Trajectory(world.stamps_ns[rows], world.truth[rows]), alignment='none').translation.rmse
              for poses in (world.odometry, back_end.keyframes['pose'])]
    kept = ~back_end.edges['rejected'][back_end.edges['kind'] == 1]
    sentence = (f'{errors[0]:.2f} m of error by odometry alone, {errors[1]:.3f} m with {int(kept.sum())} of '
                f'{len(kept)} loops kept ({int(world.wrong.sum())} were wrong)')
    _write(out, back_end, title='A simulated patrol', lead=sentence, truth=world.truth[:, :3])
    return sentence


def drive(back_end: PoseGraphBackEnd, world: Patrol) -> None:
    """Give the back-end each step and each loop when it closes, and solve."""
    closes = {int(later): k for k, (_, later) in enumerate(world.loop_steps)}
    for step, (stamp_ns, pose) in enumerate(zip(world.stamps_ns.tolist(), world.odometry)):
        back_end.add_odometry(stamp_ns, pose)
        if step in closes:
            earlier, later = world.stamps_ns[world.loop_steps[closes[step]]].tolist()
            back_end.add_edge(EdgeInput(world.loops[closes[step]], world.loop_information, source='patrol',
                                        from_stamp_ns=earlier, to_stamp_ns=later))
        if (job := back_end.begin_solve()) is not None:
            job.run()
            back_end.poll()


def _write(out: Path, back_end: PoseGraphBackEnd, **texts) -> None:
    try:
        write_page(out, back_end, **texts)
    except OSError as error:
        raise RunError(f'{out}: {error}') from None
