"""The code in the tutorials runs, and what their pages link to is there."""
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


@pytest.mark.parametrize('page', sorted(DOCS.rglob('*.md')), ids=lambda path: path.stem)
def test_links_lead_somewhere(page):
    made = {'examples.md', 'api/index.md'}      # by the site
    for target in re.findall(r'\]\(([^)#:]+)(?:#[^)]*)?\)', page.read_text()):
        path = (page.parent / target).resolve()
        assert path.exists() or str(path.relative_to(DOCS)) in made, target
