"""What `make docs` makes beside the written pages: one page for each namespace of the library, and the examples."""
import ast
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
NAMESPACES = ('lie', 'optim', 'graph', 'linalg', 'inertial', 'online', 'filter', 'dynamics', 'control', 'convex',
              'geometry', 'planning', 'learning', 'metric')


def _sentence(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or '').split('\n')[0]


def _examples() -> str:
    parts = ['# Examples', 'Each is run by the tests, which look at the number that it prints last.']
    for path in sorted((ROOT / 'examples').glob('*.py')):
        parts += [f'## {path.stem}', f'`.venv/bin/python examples/{path.name}`',
                  f'```python\n{path.read_text().rstrip()}\n```']
    return '\n\n'.join(parts) + '\n'


def on_files(files, config):
    """Adds the generated pages."""
    index = ['# API',
             '`import pypose_core as pp` has the names of PyPose: `pp.SE3`, `pp.optim.LM`, `pp.module.EKF`, ...',
             '| namespace | |\n| --- | --- |']
    for name in NAMESPACES:
        home = ROOT / 'pypose_core' / name / '__init__.py'
        page = f'# pypose_core.{name}\n\n::: pypose_core.{name}\n'
        files.append(File.generated(config, f'api/{name}.md', content=page))
        index[-1] += f'\n| [`pypose_core.{name}`]({name}.md) | {_sentence(home)} |'
    files.append(File.generated(config, 'api/index.md', content='\n\n'.join(index) + '\n'))
    files.append(File.generated(config, 'examples.md', content=_examples()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links to examples in the checkout become links to the page of examples."""
    depth = page.file.src_uri.count('/')
    for path in (ROOT / 'examples').glob('*.py'):
        anchor = '../' * depth + f'examples.md#{path.stem}'
        markdown = markdown.replace(f']({"../" * (depth + 1)}examples/{path.name})', f']({anchor})')
    return markdown
