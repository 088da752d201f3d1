"""state_dict and load_state_dict: a module's parameters and buffers as a flat dictionary."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import api
from ..._tensor import check_writable
from ..parameter import Parameter

if TYPE_CHECKING:
    from .module import Module

_EXTRA_STATE = "_extra_state"
_PENDING = "tapegrad_pending"  # key in the local metadata: changes to make once all is checked
_NO_STATE = "Reached a code path in Module.{}_extra_state() that should never be called."


class _IncompatibleKeys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    def __str__(self) -> str:
        return repr(self)


class StateMixin:
    """The part of Module that saves and loads."""

    _version = 1
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, api.Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]

    def get_extra_state(self) -> Any:
        """Override to put more into the state dict than parameters and buffers."""
        raise RuntimeError(_NO_STATE.format("get"))

    def set_extra_state(self, state: Any) -> None:
        """Override together with `get_extra_state`."""
        raise RuntimeError(_NO_STATE.format("set"))

    def _persistent_buffers(self) -> list[tuple[str, api.Tensor | None]]:
        return [(k, v) for k, v in self._buffers.items() if k not in self._non_persistent_buffers_set]

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for name, value in itertools.chain(self._parameters.items(), self._persistent_buffers()):
            if value is not None:
                destination[prefix + name] = value if keep_vars else value.detach()
        if type(self).get_extra_state is not StateMixin.get_extra_state:
            destination[prefix + _EXTRA_STATE] = self.get_extra_state()

    def state_dict(
        self,
        *args: Any,
        destination: dict[str, Any] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Any]:
        """Parameters and persistent buffers by dotted name; they share memory with the module.

        With `keep_vars` the values are the parameters themselves, else detached.

        >>> import tapegrad as torch
        >>> list(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()).state_dict())
        ['0.weight', '0.bias']
        """
        if args:  # the old positional order
            destination = args[0] if destination is None else destination
            prefix = args[1] if len(args) > 1 and prefix == "" else prefix
            keep_vars = args[2] if len(args) > 2 and keep_vars is False else keep_vars
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()  # type: ignore[attr-defined]
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = {"version": self._version}
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=prefix + name + ".", keep_vars=keep_vars)
        return destination

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy `state_dict` into the parameters and buffers, or with `assign` put its tensors in their place.

        With `strict` every key must match; without, the names that did not are returned as
        (missing_keys, unexpected_keys). RuntimeError lists all that is wrong; then nothing at all
        was changed (PyTorch leaves what it had copied so far).

        >>> import tapegrad as torch
        >>> model = torch.nn.Linear(2, 1)
        >>> model.load_state_dict(torch.nn.Linear(2, 1).state_dict())
        <All keys matched successfully>
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        pending: list[Callable[[], None]] = []
        metadata = getattr(state_dict, "_metadata", None) or {}

        def load(module: Module, local: dict[str, Any], prefix: str) -> None:
            local_metadata = dict(metadata.get(prefix[:-1], {}))
            local_metadata[_PENDING] = pending
            local_metadata["assign_to_params_buffers"] = assign
            module._load_from_state_dict(local, prefix, local_metadata, True, missing, unexpected, errors)
            for name, child in module._modules.items():
                if child is not None:
                    below = prefix + name + "."
                    load(child, {k: v for k, v in local.items() if k.startswith(below)}, below)

        load(self, dict(state_dict), "")  # type: ignore[arg-type]
        if strict:
            if unexpected:
                keys = ", ".join(f'"{k}"' for k in unexpected)
                errors.insert(0, f"Unexpected key(s) in state_dict: {keys}. ")
            if missing:
                keys = ", ".join(f'"{k}"' for k in missing)
                errors.insert(0, f"Missing key(s) in state_dict: {keys}. ")
        if errors:
            listed = "\n\t".join(errors)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listed}")
        with api.no_grad():
            for change in pending:
                change()
        return _IncompatibleKeys(missing, unexpected)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Check this module's own entries; the changes are made when the whole tree is in order."""
        pending = local_metadata.get(_PENDING, [])
        assign = local_metadata.get("assign_to_params_buffers", False)
        own = itertools.chain(self._parameters.items(), self._persistent_buffers())
        local = {k: v for k, v in own if v is not None}
        for name, target in local.items():
            key = prefix + name
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            value = state_dict[key]
            if not isinstance(value, api.Tensor):
                error_msgs.append(
                    f'While copying the parameter named "{key}", expected torch.Tensor or '
                    f"Tensor-like object from checkpoint but received {type(value)}"
                )
                continue
            if target.dim() == 0 and value.dim() == 1 and value.shape[0] == 1:
                value = value[0]  # as PyTorch 0.3 saved scalars
            if value.shape != target.shape:
                error_msgs.append(
                    f"size mismatch for {key}: copying a param with shape {value.shape} from "
                    f"checkpoint, the shape in current model is {target.shape}."
                )
            else:
                try:
                    pending.append(self._assignment(name, target, value) if assign else _copy(target, value))
                except RuntimeError as error:
                    error_msgs.append(
                        f'While copying the parameter named "{key}", whose dimensions in the model are '
                        f"{target.shape} and whose dimensions in the checkpoint are {value.shape}, an exception "
                        f"occurred : {error.args}."
                    )

        extra = prefix + _EXTRA_STATE
        if type(self).set_extra_state is not StateMixin.set_extra_state:
            if extra in state_dict:
                pending.append(lambda: self.set_extra_state(state_dict[extra]))
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra:
                    first, *rest = key[len(prefix) :].split(".", 1)
                    if first not in (self._modules if rest else local):
                        unexpected_keys.append(key)
        if _PENDING not in local_metadata:  # called directly, not through load_state_dict
            with api.no_grad():
                for change in pending:
                    change()

    def _assignment(self, name: str, target: api.Tensor, value: api.Tensor) -> Callable[[], None]:
        """What puts `value` in the place of `target`; RuntimeError if it cannot be such a parameter."""
        if not isinstance(target, Parameter):
            return lambda: setattr(self, name, value)
        needs = target.requires_grad
        if not isinstance(value, Parameter):
            parameter = Parameter(value, requires_grad=needs)
            return lambda: setattr(self, name, parameter)
        if needs and not value.is_floating_point():
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        return lambda: setattr(self, name, value.requires_grad_(needs))


def _copy(target: api.Tensor, value: api.Tensor) -> Callable[[], None]:
    """What copies `value` into `target`; RuntimeError if it cannot be changed in place."""
    with api.no_grad():
        check_writable(target)

    def copy() -> None:
        target.copy_(value)

    return copy
