"""Optimizer: parameter groups, state per parameter, saving and loading."""

from __future__ import annotations

import functools
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import chain
from typing import Any

from .. import api
from ..nn.modules._typename import typename
from ..tape._capture import note_update, read_option
from ..utils.hooks import HookDict, RemovableHandle

__all__ = ["Optimizer", "ParamsT", "required"]

ParamsT = Iterable[api.Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, api.Tensor]]


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


class Optimizer:
    """Base class of the optimizers; subclass it and write `step`.

    `params` are tensors, (name, tensor) pairs, or dictionaries (groups) with their own options;
    `defaults` are the options of groups that do not say.

    >>> import tapegrad as torch
    >>> class Plain(torch.optim.Optimizer):
    ...     def __init__(self, params, lr):
    ...         super().__init__(params, {"lr": lr})
    ...     @torch.no_grad()
    ...     def step(self, closure=None):
    ...         for group in self.param_groups:
    ...             for p in group["params"]:
    ...                 if p.grad is not None:
    ...                     p -= group["lr"] * p.grad
    >>> w = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = Plain([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.item()
    0.0
    """

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._optimizer_step_pre_hooks = HookDict()
        self._optimizer_step_post_hooks = HookDict()
        if isinstance(params, api.Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                + typename(params)
            )
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.setdefault("_optimizer_step_pre_hooks", HookDict())
        self.__dict__.setdefault("_optimizer_step_post_hooks", HookDict())
        self.defaults.setdefault("differentiable", False)

    def __repr__(self) -> str:
        lines = [type(self).__name__ + " ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join(lines) + "\n)"

    # -- groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with its options; the dictionary is kept and completed.

        TypeError for what is not a tensor, ValueError for a non-leaf, a missing required option or
        a parameter that is in a group already.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, api.Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of "
                "tensors in sets will change between runs. Please use a list instead."
            )
        else:
            params = list(params)
        names = [p[0] for p in params if isinstance(p, tuple)]
        params = [p[1] if isinstance(p, tuple) else p for p in params]
        param_group["params"] = params
        if names:
            if len(names) != len(params):
                raise ValueError(
                    "all optimizer params should be with/without names. Some param names are missing"
                )
            param_group["param_names"] = names
        for param in params:
            if not isinstance(param, api.Tensor):
                raise TypeError(
                    "optimizer can only optimize Tensors, but one of the params is " + typename(param)
                )
            if not (param.is_leaf or param.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    f"parameter group didn't specify a value of required optimization parameter {name}"
                )
            param_group.setdefault(name, default)
        new = {id(p) for p in params}
        if len(new) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will "
                "cause an error; see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        for group in self.param_groups:
            if ("param_names" in param_group) != ("param_names" in group):
                which = "with names" if "param_names" in param_group else "without names"
                raise ValueError(
                    "all optimizer param groups should be with/without names. "
                    f"cannot add param group {which} to the optimizer"
                )
            if any(id(p) in new for p in group["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients to None, or to zeros with `set_to_none=False`."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                    continue
                grad = p.grad
                if grad is not None:
                    if grad.grad_fn is not None:
                        grad.detach_()
                    else:
                        grad.requires_grad_(False)
                    grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients; those without one are skipped.

        `closure` evaluates the model again and returns the loss, which is returned.
        """
        raise NotImplementedError

    # -- hooks

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may return (args, kwargs)."""
        return self._add_hook(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return self._add_hook(self._optimizer_step_post_hooks, hook)

    def _add_hook(self, hooks: HookDict, hook: Callable[..., Any]) -> RemovableHandle:
        if not getattr(self.step, "_runs_hooks", False):
            self.step = self._hooked(self.step)  # type: ignore[method-assign]
        handle = RemovableHandle(hooks)
        hooks[handle.id] = hook
        return handle

    def _hooked(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """`step` between the hooks; it takes the method's place on this instance only."""

        @functools.wraps(step)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            args = (self, *args)  # hooks see the arguments as the plain function does
            for hook in tuple(self._optimizer_step_pre_hooks.values()):
                changed = hook(self, args, kwargs)
                if changed is not None:
                    if not (isinstance(changed, tuple) and len(changed) == 2):
                        raise RuntimeError(
                            f"{step} must return None or a tuple of (new_args, new_kwargs), "
                            f"but got {changed}."
                        )
                    args, kwargs = changed
            result = step(*args[1:], **kwargs)
            for hook in tuple(self._optimizer_step_post_hooks.values()):
                hook(self, args, kwargs)
            return result

        wrapper._runs_hooks = True  # type: ignore[attr-defined]
        return wrapper

    # -- saving and loading

    def state_dict(self) -> dict[str, Any]:
        """`{"state": {index: {...}}, "param_groups": [...]}` with parameters as running numbers.

        The layout is PyTorch's; tensors in it are shared with the optimizer.
        """
        numbers: dict[int, int] = {}
        groups = []
        start = 0
        for group in self.param_groups:
            packed = {k: v for k, v in group.items() if k != "params"}
            for i, p in enumerate(group["params"], start):
                numbers.setdefault(id(p), i)
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            start += len(group["params"])
            groups.append(packed)
        state = {numbers[id(k)] if isinstance(k, api.Tensor) else k: v for k, v in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state dict; parameters are matched by their order.

        Values are copied and cast to the parameter's dtype, except `step`. ValueError if the
        groups do not match. Nothing is changed if anything is wrong.
        """
        groups = self.param_groups
        saved = deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(g["params"]) != len(s["params"]) for g, s in zip(groups, saved, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of "
                "optimizer's group"
            )
        by_number = dict(zip(_params_of(saved), _params_of(groups), strict=True))
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in by_number:
                state[by_number[key]] = _cast(by_number[key], value)
            else:
                state[key] = value
        for group, new in zip(groups, saved, strict=True):
            new["params"] = group["params"]
            if "param_names" in group:
                new.setdefault("param_names", group["param_names"])
        before = dict(self.__dict__, defaults=dict(self.defaults))
        try:
            self.__setstate__({"state": state, "param_groups": saved})
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise


def _params_of(groups: list[dict[str, Any]]) -> Iterator[Any]:
    return chain.from_iterable(g["params"] for g in groups)


def _cast(param: api.Tensor, value: Any, key: str | None = None) -> Any:
    if isinstance(value, api.Tensor):
        value = value.detach().clone()
        return value if key == "step" or not param.is_floating_point() else value.to(param.dtype)
    if isinstance(value, dict):
        return {k: _cast(param, v, k) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_cast(param, v) for v in value)
    return deepcopy(value)


def scalar(value: Any) -> float:
    """An option that may be a one-element tensor, as a number."""
    return read_option(value) if isinstance(value, api.Tensor) else value


def check_flags(name: str, *, foreach: bool | None, fused: bool | None, **unsupported: bool) -> None:
    """Validate the implementation switches.

    `foreach` and `fused` choose among PyTorch's implementations; here there is one, so they are
    accepted and change nothing.
    """
    if foreach and fused:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
    for flag, value in unsupported.items():
        if value:
            raise NotImplementedError(f"{name}: {flag}=True is not supported by tapegrad")


class Numbers:
    """The numbers of an update kernel as a function of a parameter group.

    `keys` are the options it reads: a compiled program reads them again at each run. None where the options
    call for another kernel.
    """

    def __init__(
        self,
        of_group: Callable[[dict[str, Any]], tuple[float, ...] | None],
        more: tuple[float, ...],
        keys: frozenset[str],
    ) -> None:
        self._of_group = of_group
        self._more = more
        self.keys = keys

    def __call__(self, group: dict[str, Any]) -> tuple[float, ...] | None:
        numbers = self._of_group(group)
        return None if numbers is None else numbers + self._more


Update = tuple[str, tuple[list[api.Tensor], ...], Numbers, dict[str, Any]]  # kernel, tensors, numbers of a group


def run_updates(updates: list[Update]) -> None:
    """Run update kernels, each over all tensors of a group at once (see ops/optimizer.py): all or none.

    The native call refuses (returns False, nothing done) where the tensors differ in dtype or are
    not contiguous; such groups go one parameter at a time through contiguous copies. RuntimeError
    where a gradient or the state does not fit its parameter; then no tensor was changed.
    """
    calls = []
    for name, columns, numbers, group in updates:
        params = numbers(group)
        assert params is not None
        calls.append((name, columns, params))
    if len(calls) > 1:  # of one alone the call itself says whether it can be done
        for call in calls:
            if api._multi_tensor_update(*call, only_check=True) is False:
                _one_by_one(*call, only_check=True)
    for call, (_, _, numbers, group) in zip(calls, updates, strict=True):
        note_update(numbers, group, call[2])
        if api._multi_tensor_update(*call) is False:
            if len(calls) == 1:
                _one_by_one(*call, only_check=True)
            _one_by_one(*call, update=(numbers, group))


def _one_by_one(
    name: str,
    columns: tuple[list[api.Tensor], ...],
    params: tuple[float, ...],
    only_check: bool = False,
    update: tuple[Numbers, dict[str, Any]] | None = None,
) -> None:
    from ..ops.optimizer import UPDATES

    writes = UPDATES[name].writes
    counts = UPDATES[name].columns[-1] == "step"
    with api.no_grad():
        for row in zip(*columns, strict=True):
            for t in row[1 : -1 if counts else None]:
                if t.shape != row[0].shape:
                    _shapes_differ(row[0], t)
            dense = [t if t.is_contiguous() else t.contiguous() for t in row]
            if update is not None:
                note_update(*update, params)
            if api._multi_tensor_update(name, tuple([t] for t in dense), params, only_check) is False:
                kinds = ", ".join(str(t.dtype) for t in row)
                raise RuntimeError(f"optimizer update {name} cannot mix these dtypes: {kinds}")
            for original, copy, written in zip(row, dense, writes, strict=True):
                if written and copy is not original and not only_check:
                    original.copy_(copy)


def _shapes_differ(param: api.Tensor, t: api.Tensor) -> None:
    """PyTorch's error of adding the two, or one that names both shapes where they would broadcast."""
    param.detach() + t.detach()
    raise RuntimeError(
        f"the shape {list(t.shape)} of a gradient or of optimizer state does not match the parameter's "
        f"{list(param.shape)}"
    )


def take_back(state: dict[Any, Any], made: list[tuple[api.Tensor, tuple[str, ...]]]) -> None:
    """After a step that failed: the entries of the state that it had made, out again."""
    for param, keys in made:
        own = state[param]
        for key in keys:
            own.pop(key, None)
        if not own:
            del state[param]
