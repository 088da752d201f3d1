"""Builds the Cython extensions; everything else about the package is in pyproject.toml."""

import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

flags = ["/O2"] if sys.platform == "win32" else ["-O3", "-fno-strict-aliasing"]
modules = {
    name: "pkg/" + name.replace(".", "/") + ".pyx"
    for name in (
        "tapegrad._layout",
        "tapegrad.native._cpu",
        "tapegrad.native._loader",
        "tapegrad._interrupts",
        "tapegrad.tape._storage",
        "tapegrad.tape._tape",
        "tapegrad.tape._capture",
        "tapegrad.tape._copies",
        "tapegrad.tape._execute",
        "tapegrad._elements",
        "tapegrad._tensor",
        "tapegrad._mode_scope",
        "tapegrad._views",
        "tapegrad._arrays",
        "tapegrad._numbers",
        "tapegrad._duplicates",
        "tapegrad._pointwise",
        "tapegrad._near_plans",
        "tapegrad._structured",
        "tapegrad._spelling",
        "tapegrad.autograd._nodes",
        "tapegrad.autograd._engine",
        "tapegrad.replay._fitting",
        "tapegrad.replay._guards",
        "tapegrad.replay._look",
        "tapegrad.replay._places",
        "tapegrad.replay._plans",
        "tapegrad.replay._turns",
        "tapegrad.replay._undoing",
        "tapegrad.replay._machine",
        "tapegrad.replay._call",
    )
}
setup(
    ext_modules=cythonize(
        [Extension(name, [path], extra_compile_args=flags) for name, path in modules.items()],
        include_path=["pkg"],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
    )
)
