"""The page of a pose graph: what is in it, and that it works in a real browser without a network."""
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from graph_rig import edge_message, odometry_bytes
from rclpy.serialization import serialize_message

from pypose_core.online.back_end import BackEndConfig, PoseGraphBackEnd
from pypose_ros.bag.reader import BagReader
from pypose_ros.bag.recording import read_series
from pypose_ros.bag.resources import resource
from pypose_ros.bag.writer import BagWriter
from pypose_ros.cli import main
from pypose_ros.graph_command import drive
from pypose_ros.graph_page import page_data, write_page
from pypose_ros.sim.patrol import PatrolConfig, patrol

WORLD = patrol(PatrolConfig(laps=2, steps_per_lap=200, loop_every=20, outliers=0.3, odometry_sigma=(0.02, 0.004)))
BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'chrome'))), None)
PROBE = """<script>
const out = {ready: document.body.dataset.ready, title: document.title};
const inked = name => {
  const canvas = document.getElementById(name), c = canvas.getContext('2d');
  const pixels = c.getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set();
  for (let k = 0; k < pixels.length; k += 4)
    if (pixels[k + 3] === 255) colours.add(pixels[k] + ',' + pixels[k + 1] + ',' + pixels[k + 2]);
  return [...colours];
};
const send = (name, kind, options) => {
  const canvas = document.getElementById(name), box = canvas.getBoundingClientRect();
  const make = kind === 'wheel' ? WheelEvent : kind === 'click' ? MouseEvent : PointerEvent;
  canvas.dispatchEvent(new make(kind, {bubbles: true, cancelable: true, ...options,
    clientX: box.left + options.x, clientY: box.top + options.y}));
};
setTimeout(() => {
  out.map = inked('map'); out.chi2 = inked('chi2'); out.timing = inked('timing');
  send('map', 'wheel', {x: 100, y: 100, deltaY: -400});
  send('map', 'pointermove', {x: placed[5][0], y: placed[5][1]});
  out.hover = document.getElementById('tip').textContent;
  send('map', 'contextmenu', {x: 1, y: 1});
  out.zoomed = view.zoom;
  document.getElementById('above').click();
  const loop = edges.findIndex(e => e[2] === 2);
  const canvas = document.getElementById('chi2');
  for (let y = 0; y < 260 && selected < 0; y += 4)
    send('chi2', 'click', {x: 46 + loop / (edges.length - 1) * (canvas.clientWidth - 54), y});
  out.selected = selected >= 0 ? edges[selected][2] : null;
  out.marked = inked('map').includes('247,144,9');
  document.querySelectorAll('#layers input').forEach(box => { if (box.checked) box.click(); });
  out.emptied = inked('map').length;
  document.getElementById('aside').click();
  out.aside = view.tilt;
  document.body.innerHTML = '<pre id="probe"></pre>';
  document.getElementById('probe').textContent = JSON.stringify(out);
}, 500);
</script>"""


@pytest.fixture(scope='module')
def back_end() -> PoseGraphBackEnd:
    made = PoseGraphBackEnd(BackEndConfig(robust='gnc', odometry_sigma=(0.03, 0.006), odometry_drift=(0.02, 0.005)))
    drive(made, WORLD)
    return made


def test_the_page_has_the_graph_before_and_after_its_loops_and_its_solves(back_end):
    found = page_data(back_end, 'title', 'lead', WORLD.truth[:, :3])
    rejected = [edge for edge in found['edges'] if edge[2] == 2]
    assert len(rejected) == WORLD.wrong.sum() > 0
    assert sum(edge[2] == 1 for edge in found['edges']) == (~WORLD.wrong).sum()
    assert min(edge[3] for edge in rejected) > found['limit'] == pytest.approx(22.458, abs=1e-3)
    rows = np.searchsorted(WORLD.stamps_ns, back_end.keyframes['stamp_ns'])
    np.testing.assert_allclose(found['before'], WORLD.odometry[rows, :3], atol=1e-3)
    np.testing.assert_allclose(found['after'], back_end.keyframes['pose'][:, :3], atol=1e-3)
    assert len(found['solves']) == len(WORLD.loops) == len(back_end.solves)
    assert all(duration > 0 and good for _, duration, _, _, good, _ in found['solves'])


def test_the_page_is_one_file_without_addresses_and_a_name_cannot_break_out_of_it(back_end, tmp_path):
    write_page(tmp_path / 'a' / 'page.html', back_end, title='</script><b>mine', lead='<i>')
    text = (tmp_path / 'a' / 'page.html').read_text()
    assert not re.search(r'https?://|src=|@import|url\(', text)
    assert text.count('</script>') == 2 and [path.name for path in (tmp_path / 'a').iterdir()] == ['page.html']
    with pytest.raises(ValueError, match='no keyframes'):
        write_page(tmp_path / 'b.html', PoseGraphBackEnd())


def test_the_page_draws_and_answers_in_a_browser_without_network(back_end, tmp_path):
    if BROWSER is None:
        pytest.skip('no chromium is installed')
    write_page(tmp_path / 'page.html', back_end, title='patrol', lead='two laps', truth=WORLD.truth[:, :3])
    text = (tmp_path / 'page.html').read_text()
    probed = tmp_path / 'probed.html'
    probed.write_text(text.replace('</body>', PROBE + '</body>'))
    done = subprocess.run(
        [BROWSER, '--headless=new', '--no-sandbox', '--disable-gpu', '--host-resolver-rules=MAP * ~NOTFOUND',
         f'--user-data-dir={tmp_path / "profile"}', '--window-size=1300,1250', '--virtual-time-budget=4000',
         '--dump-dom', probed.as_uri()], capture_output=True, text=True, timeout=90)
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    out = json.loads(found[1].replace('&gt;', '>').replace('&amp;', '&'))
    assert out['ready'] == 'yes' and out['title'] == 'patrol'
    # Before, after, truth, accepted and rejected, each in its colour.
    assert {'152,162,179', '23,92,211', '18,183,106', '7,148,85', '217,45,32'} <= set(out['map'])
    assert '217,45,32' in out['chi2'] and '23,92,211' in out['timing']
    assert out['zoomed'] > 1.5 and 'keyframe 5' in out['hover']
    assert out['selected'] == 2 and out['marked']
    assert out['emptied'] < len(out['map']) and out['aside'] == 1.4


def test_a_file_of_any_tool_is_solved_and_shown(tmp_path, capsys, data):
    page = tmp_path / 'grid.html'
    assert main(['graph', str(data / 'pgo3d' / 'smallGrid3D.g2o'), '--out', str(page)]) == 0
    assert '125 keyframes, 297 edges, 0 rejected; cost' in capsys.readouterr().out
    shown = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)[1])
    assert len(shown['after']) == 125 and shown['before'] != shown['after'] and len(shown['solves']) == 1
    broken = tmp_path / 'broken.g2o'
    broken.write_text('VERTEX_SE3:QUAT 0 1\n')
    assert main(['graph', str(broken)]) == 2
    assert 'broken.g2o:1' in capsys.readouterr().err


def shown_on(page) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)[1])


def test_a_bag_with_odometry_and_loops_is_replayed_as_the_node_would_and_shown(back_end, tmp_path, capsys):
    bag, page = tmp_path / 'patrol.mcap', tmp_path / 'patrol.html'
    closes = {int(later): k for k, (_, later) in enumerate(WORLD.loop_steps)}
    with BagWriter(bag) as out:
        for step, (stamp, pose) in enumerate(zip(WORLD.stamps_ns.tolist(), WORLD.odometry)):
            out.write_raw('/odom', 'nav_msgs/msg/Odometry', stamp, odometry_bytes(stamp, pose))
            if step in closes:
                edge = edge_message(WORLD.loops[closes[step]], stamps=WORLD.stamps_ns[WORLD.loop_steps[closes[step]]],
                                    information=WORLD.loop_information, source='patrol')
                out.write_raw('/loop_closure', 'pypose_ros/msg/PoseGraphEdge', stamp, serialize_message(edge))
    options = ['-p', 'odometry_sigma:=[0.03, 0.006]', '-p', 'odometry_drift:=[0.02, 0.005]', '--robust', 'gnc']
    assert main(['graph', str(bag), '--out', str(page), *options]) == 0
    said, shown = capsys.readouterr().out, shown_on(page)
    wrong = int(WORLD.wrong.sum())
    assert f'{len(back_end.keyframes)} keyframes, {len(WORLD.loops)} loops of which {wrong} rejected' in said
    assert f'taken: {len(WORLD.loops)} of /loop_closure, {len(WORLD.stamps_ns)} of /odom' in said
    np.testing.assert_allclose(shown['after'], back_end.keyframes['pose'][:, :3], atol=2e-3)
    assert main(['graph', str(bag), '--out', str(page), '--odometry-topic', '/nowhere']) == 2
    assert 'no such topic' in capsys.readouterr().err
    assert main(['graph', str(bag), '-p', 'keyframe.distance:=-1.0']) == 2
    assert 'keyframe.distance' in capsys.readouterr().err


def test_a_turtlebots_bag_is_laid_on_the_map_of_its_amcl(tmp_path, capsys, data):
    page, bag = tmp_path / 'turtlebot.html', data / 'bags' / 'evo_nav2_turtlebot.mcap'
    config = str(resource('config/robots/turtlebot_nav2.yaml'))
    assert main(['graph', str(bag), '--out', str(page), '--pose-topic', '/amcl_pose', '--config', config]) == 0
    assert ' of /amcl_pose' in capsys.readouterr().out
    with BagReader(bag) as recording:
        amcl = read_series(recording, ['/amcl_pose', '/odom'])
    shown, begin = shown_on(page), amcl['/odom'].stamps_ns[0]
    at = np.array(shown['seconds'])
    pose, stamps = amcl['/amcl_pose'].poses, (amcl['/amcl_pose'].stamps_ns - begin) * 1e-9
    inside = (stamps > at[len(at) // 2]) & (stamps < at[-1])
    way = np.stack([np.interp(stamps[inside], at, np.array(shown['after'])[:, axis]) for axis in (0, 1)], 1)
    assert inside.sum() > 20 and np.median(np.linalg.norm(way - pose[inside, :2], axis=1)) < 0.2
