"""The house rules, read off the source: floors, doors, sizes, the top level of the checkout.

A floor may import itself and the floors above it in the list, never one below it in the list; no circle
of module-level imports. Numba and llvmlite come in through two doors only. A file outside the list
fails: give it a floor.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pkg" / "tapegrad"

FLOORS: list[tuple[str, set[str]]] = [
    (
        "words",
        {"_interrupts", "_layout", "dtypes", "errors", "_config", "_device", "_size", "_tensor_str", "_generator"}
        | {"_formats", "_missing", "_switches", "version"},
    ),
    ("native", {"native"}),
    ("operations", {"ops", "cuda", "amp", "accelerator", "distributed", "mps", "xpu"}),
    ("tape", {"tape"}),
    (
        "tensor",
        {"_elements", "_tensor", "_arrays", "_duplicates", "_pointwise", "_near_plans", "_spelling", "_structured"}
        | {"_numbers", "_mode_scope", "_modes", "_views"},
    ),
    ("autograd", {"autograd"}),
    (
        "tensor functions",
        {"_default_dtype", "_factories", "_from_data", "_functions", "_indexing", "_random", "_runtime"}
        | {"_exchange", "_limits", "_sized", "_tensor_types", "_wiring", "api", "random", "return_types"},
    ),
    ("library", {"backends", "nn", "optim", "utils", "func", "distributions", "linalg"}),
    ("replay", {"replay", "compiler"}),
    ("files", {"io", "interop"}),
    ("front door", {""}),
    ("uses", {"examples", "sklearn", "testing", "inspect", "_warm", "__main__"}),
]
DOORS = {"native", "cuda"}  # the only packages that may import Numba and llvmlite

# Lines. The house aims at 300 a file and splits what passes 400; the few that are larger stand here with
# a limit of their own.
FILE_LIMIT = 600
LARGER = {
    # The class, with what it does by itself in C: its memory, its history, its table of operators.
    "_tensor.pyx": 1400,
    "autograd/_engine.pyx": 800,
}
PACKAGE_LIMIT = 48_000  # all of it, docstrings and declarations included
SUFFIXES = (".py", ".pyx", ".pxd")

CYTHON_FROM = re.compile(r"^\s*from\s+(\.*[\w.]*)\s+c?import\s+(.+)$")
CYTHON_IMPORT = re.compile(r"^\s*c?import\s+([\w.]+(?:\s+as\s+\w+)?(?:\s*,\s*[\w.]+(?:\s+as\s+\w+)?)*)\s*$")


class Import:
    """One imported module, and whether the import runs when its importer is loaded."""

    def __init__(self, target: str, line: int, at_load: bool) -> None:
        self.target, self.line, self.at_load = target, line, at_load


def files(package: Path = PACKAGE) -> list[Path]:
    found = (p for p in sorted(package.rglob("*")) if p.suffix in SUFFIXES and "__pycache__" not in p.parts)
    return [p for p in found if not p.name.startswith(".")]


def module_name(path: Path, package: Path = PACKAGE) -> str:
    """The name below the package: "ops.loops", "nn" for nn/__init__.py, "" for the package itself."""
    parts = list(path.relative_to(package).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def resolve(importer: str, is_package: bool, level: int, name: str) -> str | None:
    """What a (relative) import names below the package; None for foreign modules, as they are written."""
    if level == 0:
        if name == "tapegrad" or name.startswith("tapegrad."):
            return name.removeprefix("tapegrad").lstrip(".")
        return None
    base = importer.split(".") if importer else []
    up = level - (1 if is_package else 0)
    base = base[: len(base) - up] if up else base
    return ".".join([*base, *([name] if name else [])])


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _is_import_call(node: ast.AST) -> bool:
    """import_module("name") and __import__("name")."""
    if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
        return False
    return ast.unparse(node.func).endswith(("import_module", "__import__"))


def python_imports(text: str) -> list[tuple[int, str, list[str], int, bool]]:
    """(level, module, names, line, at load) of each import, those for type checkers left out."""
    found = []

    def walk(node: ast.AST, at_load: bool) -> None:
        for child in ast.iter_child_nodes(node):
            inner = at_load and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if isinstance(child, ast.Import):
                found.extend((0, a.name, [], child.lineno, at_load) for a in child.names)
            elif isinstance(child, ast.ImportFrom):
                names = [a.name for a in child.names]
                found.append((child.level, child.module or "", names, child.lineno, at_load))
            elif _is_import_call(child):
                found.append((0, str(child.args[0].value), [], child.lineno, at_load))
            if _is_type_checking(child):
                assert isinstance(child, ast.If)
                for other in child.orelse:
                    walk(other, inner)
            else:
                walk(child, inner)

    walk(ast.parse(text), True)
    return found


def cython_imports(text: str) -> list[tuple[int, str, list[str], int, bool]]:
    found = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#")[0]
        at_load = not line[:1].isspace()
        if match := CYTHON_FROM.match(line):
            module = match[1]
            level = len(module) - len(module.lstrip("."))
            names = [n.split()[0] for n in match[2].strip("() ").split(",") if n.strip()]
            found.append((level, module.lstrip("."), names, number, at_load))
        elif match := CYTHON_IMPORT.match(line):
            found.extend((0, part.split()[0], [], number, at_load) for part in match[1].split(","))
    return found


def imports(path: Path, known: set[str], package: Path = PACKAGE) -> tuple[list[Import], list[Import]]:
    """Imports below the package, and foreign ones."""
    text = path.read_text(encoding="utf-8")
    importer, is_package = module_name(path, package), path.stem == "__init__"
    ours, foreign = [], []
    read = python_imports if path.suffix == ".py" else cython_imports
    for level, module, names, line, at_load in read(text):
        base = resolve(importer, is_package, level, module)
        if base is None:
            foreign.append(Import(module, line, at_load))
            continue
        # `from .a import b` loads a, and a.b if that is a module; a itself counts only if a name is its own.
        dotted = {name: f"{base}.{name}".lstrip(".") for name in names}
        targets = {full if full in known else base for full in dotted.values()} or {base}
        ours += [Import(target, line, at_load) for target in sorted(targets)]
    return ours, foreign


def floor(module: str) -> int:
    top = module.split(".")[0]
    for height, (_, names) in enumerate(FLOORS):
        if top in names:
            return height
    raise AssertionError(f"{module} has no floor: put it into FLOORS in {Path(__file__).name}")


def upward_imports(package: Path) -> list[str]:
    known = {module_name(p, package) for p in files(package)}
    wrong = []
    for path in files(package):
        importer = module_name(path, package)
        for i in imports(path, known, package)[0]:
            if floor(i.target) > floor(importer):
                name = i.target or "tapegrad"
                where = f"{path.relative_to(package).as_posix()}:{i.line}"
                wrong.append(f"{where} imports {name}, which is on a higher floor")
    return wrong


def circles(package: Path) -> list[str]:
    known = {module_name(p, package) for p in files(package)}
    graph: dict[str, set[str]] = {name: set() for name in known}
    for path in files(package):
        importer = module_name(path, package)
        targets = {i.target for i in imports(path, known, package)[0] if i.at_load}
        graph[importer] |= (targets & known) - {importer}
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        if name in trail:
            found.append(" -> ".join([*trail[trail.index(name) :], name]))
        elif name not in done:
            for target in sorted(graph[name]):
                visit(target, [*trail, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


def test_imports_go_down_only():
    assert upward_imports(PACKAGE) == []


def test_no_circles():
    assert circles(PACKAGE) == []


def test_numba_has_two_doors():
    known = {module_name(p) for p in files()}
    wrong = []
    for path in files():
        if module_name(path).split(".")[0] in DOORS:
            continue
        for i in imports(path, known)[1]:
            if i.target.split(".")[0] in ("numba", "llvmlite"):
                wrong.append(f"{path.relative_to(PACKAGE)}:{i.line} imports {i.target}")
    assert wrong == []


def test_the_checks_see_what_they_should(tmp_path):
    """The rules above on a small package that breaks each of them."""
    package = tmp_path / "tapegrad"
    for folder in ("native", "ops", "nn"):
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").write_text('"""Nothing."""\n')
    (package / "__init__.py").write_text("from . import nn\n")
    (package / "native" / "a.py").write_text("from .b import x\n")
    (package / "native" / "b.py").write_text("from . import a\nx = 1\n")
    (package / "ops" / "bad.py").write_text("def f():\n    from ..nn import Linear\n    return Linear\n")
    (package / "ops" / "fine.py").write_text(
        "from typing import TYPE_CHECKING\nfrom ..native import a\n"
        "if TYPE_CHECKING:\n    from ..nn import Linear\n"
    )
    (package / "_layout.pyx").write_text("from tapegrad.ops cimport thing\nimport numba\n")
    assert upward_imports(package) == [
        "_layout.pyx:1 imports ops, which is on a higher floor",
        "ops/bad.py:2 imports nn, which is on a higher floor",
    ]
    assert circles(package) == ["native.a -> native.b -> native.a"]
    known = {module_name(p, package) for p in files(package)}
    assert [i.target for i in imports(package / "_layout.pyx", known, package)[1]] == ["numba"]
    with pytest.raises(AssertionError, match="has no floor"):
        floor("somewhere.else")


def test_files_stay_small():
    texts = {p.relative_to(PACKAGE).as_posix(): p.read_text(encoding="utf-8") for p in files()}
    lengths = {name: len(text.splitlines()) for name, text in texts.items()}
    assert {name: n for name, n in lengths.items() if n > LARGER.get(name, FILE_LIMIT)} == {}
    no_longer_needed = [name for name in LARGER if lengths.get(name, FILE_LIMIT + 1) <= FILE_LIMIT]
    assert no_longer_needed == []
    assert sum(lengths.values()) <= PACKAGE_LIMIT


def test_every_module_says_its_subject():
    silent = []
    for path in (p for p in files() if p.suffix == ".py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if tree.body and not ast.get_docstring(tree):  # an empty file has nothing to say
            silent.append(path.relative_to(PACKAGE).as_posix())
    assert silent == []


def test_top_level_of_the_checkout():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listed.stdout.splitlines()}
    allowed = {"pyproject.toml", "setup.py", "pkg", "tests", "asv_bench"}
    allowed |= {"README.md", "LICENSE", "CHANGELOG.md", "docs"}
    assert {name for name in top if not name.startswith(".")} <= allowed


def test_import_loads_nothing_heavy():
    code = "import sys, tapegrad; print(*sorted(set(sys.modules) & set(sys.argv[1:])))"
    heavy = ["numba", "llvmlite", "scipy", "sklearn", "matplotlib", "torch", "tqdm", "multiprocessing"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
