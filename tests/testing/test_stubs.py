"""The type stubs say what is there: names and parameters of the compiled modules, and the written parts."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest
import tapegrad
from tapegrad.testing import stubs

PACKAGE = Path(tapegrad.__file__).parent
COMPILED = sorted(
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
    for path in PACKAGE.rglob("*.pyi")
    if path.name != "api.pyi"
)
# What Cython and Python put into every class or module.
INHERITED = {
    *("__array_interface__", "__init__", "__new__", "__reduce__", "__reduce_ex__", "__repr__", "__setstate__"),
    *("__delattr__", "__doc__", "__eq__", "__ge__", "__getattr__", "__getattribute__", "__gt__", "__hash__"),
    *("__le__", "__lt__", "__module__", "__ne__", "__pyx_vtable__", "__setattr__"),
}
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def parsed(name):
    return ast.parse((PACKAGE / f"{name.replace('.', '/')}.pyi").read_text(encoding="utf-8"))


def defined(body):
    """Names that a stub's body defines, as {name: node}; of overloads the last."""
    found = {}
    for node in body:
        if isinstance(node, FUNCTIONS | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign):
            found[node.target.id] = node
    return found


def native_names(module):
    """What a compiled module defines itself."""
    own = set()
    for name, value in vars(module).items():
        if name.startswith("__"):
            continue
        own_class = inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if own_class or type(value).__name__ == "cython_function_or_method":
            own.add(name)
    return own


def parameters(node):
    a = node.args
    names = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    return set(names) | {p.arg for p in (a.vararg, a.kwarg) if p is not None}


def overloaded(node):
    return any(getattr(d, "id", None) == "overload" for d in node.decorator_list)


@pytest.mark.parametrize("path", sorted(stubs.texts()), ids=lambda path: path.name)
def test_written_stubs_are_up_to_date(path):
    assert path.read_text(encoding="utf-8") == stubs.texts()[path], f"run {stubs.COMMAND}"


def test_every_compiled_module_has_a_stub():
    compiled = {p.relative_to(PACKAGE).parent / p.name.split(".")[0] for p in PACKAGE.rglob("*.so")}
    compiled |= {p.relative_to(PACKAGE).parent / p.name.split(".")[0] for p in PACKAGE.rglob("*.pyd")}
    assert {p.as_posix().replace("/", ".") for p in compiled} == set(COMPILED)
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.parametrize("name", COMPILED)
def test_stubs_name_what_is_there(name):
    module = importlib.import_module(f"tapegrad.{name}")
    stub = defined(parsed(name).body)
    assert {n for n in stub if not hasattr(module, n)} == set()
    assert native_names(module) - set(stub) == set()
    for function, node in stub.items():
        if isinstance(node, FUNCTIONS):
            assert parameters(node) == set(inspect.signature(getattr(module, function)).parameters), function
        elif isinstance(node, ast.ClassDef):
            check_class(getattr(module, function), node)


def check_class(cls, node):
    members = defined(node.body)
    assert {n for n in members if not hasattr(cls, n)} == set(), cls
    if cls.__name__ in ("Tensor", "Node", "Runner"):
        assert {n for n in vars(cls) if n not in members} - INHERITED == set()
    for name, method in members.items():
        value = inspect.getattr_static(cls, name)
        if not isinstance(method, FUNCTIONS) or overloaded(method) or not inspect.isroutine(value):
            continue
        try:
            known = set(inspect.signature(value).parameters)
        except (TypeError, ValueError):  # a slot of the C type has no signature
            continue
        if "former" in known:
            known.remove("former")
        if type(value).__name__ in ("function", "cython_function_or_method"):
            given = parameters(method)
            assert len(given) == len(known), (cls, name)
            assert len(given - known) <= 1, (cls, name)  # `self`, which a function may call `input`


def test_public_names_are_those_of_the_stub():
    stub = defined(parsed("api").body)
    text = (PACKAGE / "api.pyi").read_text(encoding="utf-8")
    for name in tapegrad.api.__all__:
        assert name in stub or f" as {name}\n" in text, name
    assert {n for n in stub if n not in tapegrad.api.__all__} == set()
