"""The version of tapegrad, and of the GPU toolkits it was built with: none."""

__all__ = ["__version__", "cuda", "debug", "git_version", "hip"]

__version__ = "0.1.0"
debug = False
cuda: str | None = None
hip: str | None = None
git_version = ""
