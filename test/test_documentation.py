"""The code in the tutorials runs, and what their pages link to is there."""
import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / 'docs'
RUN = sorted(path for path in DOCS.rglob('*.md') if 'is run by the tests' in path.read_text())


@pytest.mark.parametrize('page', RUN, ids=lambda path: path.stem)
def test_the_code_of_the_page_runs(page):
    blocks = re.findall(r'```python\n(.*?)```', page.read_text(), re.DOTALL)
    assert blocks
    namespace = {}
    for block in blocks:
        exec(compile(block, str(page), 'exec'), namespace)


def test_there_are_such_pages():
    assert len(RUN) >= 6


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub and mkdocs name them."""
    titles = re.findall(r'^#+ (.*)', re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL), re.M)
    return {re.sub(r'[^\w\- ]', '', title).strip().lower().replace(' ', '-') for title in titles}


@pytest.mark.parametrize('page', [DOCS.parent / 'README.md', *sorted(DOCS.rglob('*.md'))], ids=lambda path: path.stem)
def test_links_lead_somewhere(page):
    made = {'examples.md', 'api/index.md'}      # by the site
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    for target, anchor in re.findall(r'\]\(([^)#:]*)(?:#([^)]*))?\)', text):
        path = (page.parent / target).resolve() if target else page
        if path.is_relative_to(DOCS) and str(path.relative_to(DOCS)) in made:
            continue
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f'{target}#{anchor}'


@pytest.mark.parametrize('page', [DOCS.parent / 'README.md', *sorted(DOCS.rglob('*.md'))], ids=lambda path: path.stem)
def test_names_of_ours_are_there(page):
    for name in set(re.findall(r'`(pypose_core(?:\.\w+)+)', page.read_text())):
        found, parts = importlib.import_module('pypose_core'), name.split('.')[1:]
        for k, part in enumerate(parts):
            if not hasattr(found, part):
                importlib.import_module('.'.join(['pypose_core', *parts[:k + 1]]))
            found = getattr(found, part)


@pytest.mark.parametrize('page', [DOCS.parent / 'README.md', DOCS / 'index.md', DOCS / 'robot_integration.md',
                                  DOCS / 'mpc_controller.md', *sorted((DOCS / 'nodes').glob('*.md'))],
                         ids=lambda path: path.stem)
def test_commands_name_what_there_is(page):
    """Targets of make, launch files and their arguments, executables, subcommands, examples and benchmarks."""
    root, text = DOCS.parent, page.read_text()
    for target in re.findall(r'(?:^    |`)make ([a-z-]+)', text, re.M):
        assert re.search(rf'^{target}:', (root / 'Makefile').read_text(), re.M), target
    for name, given in re.findall(r'ros2 launch pypose_ros (\w+)\.launch\.py((?: +\w+:=\S+)*)', text):
        files = root / 'launch' / f'{name}.launch.py', root / 'pypose_ros' / 'launching.py'
        source = ''.join(file.read_text() for file in files)
        for argument in re.findall(r'(\w+):=', given):
            assert f"'{argument}'" in source, f'{name}: {argument}'
    for name in re.findall(r'ros2 run pypose_ros (\w+)', text):
        assert (root / 'scripts' / name).is_file(), name
    commands = (root / 'pypose_ros' / 'cli.py').read_text()
    for name in re.findall(r'(?:^    |`)pypose-ros (\w+)', text, re.M):
        assert f"'{name}'" in commands, name
    for path in re.findall(r'\b((?:benchmarks|examples|config|requirements)/[\w/]+\.\w+)', text):
        assert (root / path).exists(), path
