"""Builds the Cython extensions; everything else about the package is in pyproject.toml."""

import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

flags = ["/O2"] if sys.platform == "win32" else ["-O3", "-fno-strict-aliasing"]
modules = {
    "tapegrad._layout": "pkg/tapegrad/_layout.pyx",
}
setup(
    ext_modules=cythonize(
        [Extension(name, [path], extra_compile_args=flags) for name, path in modules.items()],
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
