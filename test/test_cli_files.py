"""The command line on files: exit codes 0, 1, 2; unusable input is one line on stderr; JSON is JSON."""
import json
import subprocess
import sys

import numpy as np
import pytest

from pypose_core.metric import Trajectory, write_tum
from pypose_ros.bag import BagWriter, messages
from pypose_ros.bag.synthetic import FlightConfig, write_flight
from pypose_ros.cli import main


def trajectory(offset=0.0):
    t = np.arange(300) * 0.01
    poses = np.stack([np.cos(t) + offset, np.sin(t), 0.1 * t ** 2, *[0 * t] * 3, 1 + 0 * t], axis=1)
    return Trajectory((t * 1e9).astype(np.int64), poses)


def test_help_imports_neither_torch_nor_ros():
    code = ('import sys; from pypose_ros.cli import main\n'
            'try: main(["--help"])\n'
            'except SystemExit: pass\n'
            'print(sorted({"torch", "rclpy", "rosbags", "numpy", "matplotlib"} & set(sys.modules)))')
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert out.rstrip().endswith('[]')
    for command in ('convert', 'validate', 'evaluate'):
        assert command in out


def test_evaluate_prints_the_errors_under_each_alignment(tmp_path, capsys):
    write_tum(tmp_path / 'a.tum', trajectory(0.3))
    write_tum(tmp_path / 'b.tum', trajectory())
    assert main(['evaluate', str(tmp_path / 'a.tum'), str(tmp_path / 'b.tum')]) == 0
    out = capsys.readouterr().out
    assert '0.30000' in out and 'SE(3)' in out and 'RPE per 1 seconds' in out
    assert main(['evaluate', str(tmp_path / 'a.tum'), str(tmp_path / 'b.tum'), '--json', '--interpolate',
                 '--delta', '0.5', '--unit', 'metres']) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['ate']['none']['translation_m']['rmse'] == pytest.approx(0.3)
    assert result['ate']['se3']['translation_m']['rmse'] == pytest.approx(0, abs=1e-8)
    assert result['rpe']['delta'] == '0.5 metres' and result['pairs'] == 300


def one_line_and_exit_2(capsys, *arguments):
    assert main(list(map(str, arguments))) == 2
    captured = capsys.readouterr()
    assert captured.out == '' and captured.err.count('\n') == 1 and captured.err.startswith('pypose-ros: ')
    return captured.err


def test_unusable_input_is_one_line_and_exit_code_2(tmp_path, capsys):
    write_tum(tmp_path / 'a.tum', trajectory())
    late = trajectory()
    write_tum(tmp_path / 'late.tum', Trajectory(late.stamps_ns + 10 ** 12, late.poses))
    (tmp_path / 'bad.tum').write_text('1 2 3\n')
    (tmp_path / 'a.mcap').write_bytes(b'\x89MCAP0\r\n' + bytes(20))
    assert 'bad.tum:1' in one_line_and_exit_2(capsys, 'evaluate', tmp_path / 'bad.tum', tmp_path / 'a.tum')
    assert 'in common' in one_line_and_exit_2(capsys, 'evaluate', tmp_path / 'a.tum', tmp_path / 'late.tum')
    assert 'absent' in one_line_and_exit_2(capsys, 'evaluate', tmp_path / 'absent', tmp_path / 'a.tum')
    assert 'a.mcap' in one_line_and_exit_2(capsys, 'validate', tmp_path / 'a.mcap')
    before = sorted(tmp_path.rglob('*'))
    one_line_and_exit_2(capsys, 'convert', 'euroc', tmp_path, tmp_path / 'out.mcap')
    assert sorted(tmp_path.rglob('*')) == before


def test_validate_exits_with_1_where_it_finds_an_error(tmp_path, capsys):
    write_flight(tmp_path / 'good.mcap', FlightConfig(duration=3.0))
    assert main(['validate', str(tmp_path / 'good.mcap')]) == 0
    assert '/imu/data_raw' in capsys.readouterr().out
    with BagWriter(tmp_path / 'bad.mcap') as bag:
        for k in range(50):
            bag.write('/imu', k * 10 ** 7, messages.imu(k * 10 ** 7, '', np.full(6, 9.0), (0, 0)))
    assert main(['validate', str(tmp_path / 'bad.mcap'), '--json']) == 1
    assert not json.loads(capsys.readouterr().out)['ok']


def test_a_wrong_command_line_exits_with_2(capsys):
    for arguments in ([], ['fly'], ['convert', 'kitti', 'a', 'b'], ['evaluate', 'a']):
        with pytest.raises(SystemExit) as error:
            main(arguments)
        assert error.value.code == 2
    capsys.readouterr()
