"""Everything that the documentation shows as Python runs: README, docs/, docstrings.

A block with a prompt (>>>) is run as a doctest, any other as a program; the blocks of a page share their
names, in order. A block marked `text` or `bash` is not run, except for README's two commands, whose first
half (installing) is what brought the package here: that they are there, each on one line, is checked.
"""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pkg" / "tapegrad"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"<!-- (\w+)-command -->\n```bash\n(.*?)```", re.DOTALL)
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def run_doctest(text: str, names: dict, where: str) -> None:
    test = doctest.DocTestParser().get_doctest(text, names, where, where, 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    runner.run(test, out=report.append, clear_globs=False)
    names.update(test.globs)
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    names: dict = {"__name__": "__page__"}
    for match in BLOCK.finditer(text):
        where = f"{page.name}:{text[: match.start()].count(chr(10)) + 2}"
        if ">>>" in match[1]:
            run_doctest(match[1], names, where)
        else:
            exec(compile(match[1], where, "exec"), names)


def test_readme_shows_its_two_commands():
    commands = dict(COMMAND.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    assert set(commands) == {"run", "test"}
    assert all(len(command.splitlines()) == 1 for command in commands.values())
    assert "-m tapegrad.examples.digits" in commands["run"]
    assert "-m pytest" in commands["test"]


def test_the_runner_notices_a_wrong_result():
    with pytest.raises(AssertionError, match="Got:"):
        run_doctest(">>> 1 + 1\n3\n", {}, "here")


def modules() -> list[str]:
    names = []
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyx")]):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if ">>>" in path.read_text(encoding="utf-8") and parts[-1] != "__main__":
            names.append(".".join(parts))
    return names


@pytest.mark.parametrize("name", modules())
def test_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    examples = [t for t in doctest.DocTestFinder(exclude_empty=True).find(module, name) if t.examples]
    for test in examples:
        report: list[str] = []
        runner = doctest.DocTestRunner(optionflags=OPTIONS)
        runner.run(test, out=report.append)
        assert runner.failures == 0, "".join(report)
