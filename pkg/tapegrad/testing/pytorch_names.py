"""Writes the list of PyTorch's public names, where PyTorch is installed: `python -m tapegrad.testing.pytorch_names`."""

from __future__ import annotations

import importlib
import inspect
import textwrap
import types
import warnings
from pathlib import Path
from typing import Any

PATH = Path(__file__).resolve().parents[1] / "pytorch_names.txt"

# The namespaces of PyTorch that tapegrad has, too. A part that it does not have is a name of its parent.
NAMESPACES = (
    *("torch", "torch.Tensor", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.modules"),
    *("torch.nn.parameter", "torch.nn.utils", "torch.optim", "torch.optim.lr_scheduler", "torch.utils"),
    *("torch.utils.data", "torch.autograd", "torch.cuda", "torch.cuda.amp", "torch.amp", "torch.backends"),
    *("torch.backends.cuda", "torch.backends.cudnn", "torch.backends.mps", "torch.random", "torch.return_types"),
    *("torch.accelerator", "torch.distributed", "torch.mps", "torch.xpu"),
)
# Parts that `import torch` does not load, and so `dir` does not show.
_PARTS = {
    "torch": ("onnx", "quantization", "ao", "export", "distributed", "testing"),
    "torch.utils": ("tensorboard", "checkpoint", "benchmark", "bottleneck", "mobile_optimizer", "dlpack"),
    "torch.autograd": ("profiler", "functional", "forward_ad", "graph"),
}


def _is_public(module: types.ModuleType, name: str, value: Any) -> bool:
    """Whether a name is the module's own and not one that it imports for itself."""
    if isinstance(value, types.ModuleType):
        return value.__name__ == f"{module.__name__}.{name}"
    if inspect.isclass(value) or callable(value):
        home = getattr(value, "__module__", None)
        return home is None or home.split(".")[0] == "torch"
    return type(value).__module__.split(".")[0] == "torch"


def _names_of(namespace: str) -> list[str]:
    if namespace == "torch.Tensor":
        kind = importlib.import_module("torch").Tensor
        return [name for name in dir(kind) if not name.startswith("_")]
    module: Any = importlib.import_module(namespace)
    inner = vars(module).get("m")  # of switches that are properties of a module put in the place of another
    module = inner if isinstance(inner, types.ModuleType) else module
    listed = getattr(module, "__all__", None)
    found = set(listed or ()) | set(_PARTS.get(namespace, ()))
    for name in dir(module):
        value = getattr(module, name, None)
        # A namespace without a list, and the first one, whose list is not complete, are looked through.
        looked_through = isinstance(value, types.ModuleType) or listed is None or namespace == "torch"
        if looked_through and _is_public(module, name, value):
            found.add(name)
    return [name for name in found if not name.startswith("_")]


def text() -> str:
    """The text of the file: a section per namespace."""
    torch = importlib.import_module("torch")
    sections = [f"Public names of PyTorch {torch.__version__.partition('+')[0]}, by namespace."]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that are deprecated
        for namespace in NAMESPACES:
            lines = textwrap.wrap(" ".join(sorted(_names_of(namespace))), 118, break_on_hyphens=False)
            sections.append(f"{namespace}:\n" + "\n".join(lines))
    return "\n\n".join(sections) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
    print(PATH)
