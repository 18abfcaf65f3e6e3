"""Remembers what operators make of tensors, so that one that ran before on alike tensors need not run again.

Fake tensors have a cache of their own, whose key takes longer to compute than all that a replay does otherwise; it has
no reshaped products (`aten::_unsafe_view`), and asks for every device through two modes. What may be remembered is what
may be kept there (torch/_subclasses/fake_tensor.py, `FakeTensorMode._validate_cache_key`).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves

from planner.replay.recording.costs import Cost, cost_of

DEVICE: Final = torch.ops.prim.device.default
"""The operator by which torch asks a fake tensor for its device."""

_EMPTY_LIKE: Final = torch.ops.aten.empty_like.default
"""The operator by which a model is placed: of weights on the meta device, which are no fake tensors."""

_UNSAFE_VIEW: Final = torch.ops.aten._unsafe_view.default

_OWN: Final = "planner"
"""Namespace of the operators of stand-ins; what they make depends on their arguments alone."""

_META: Final = torch.device("meta")


class Made(NamedTuple):
    """Describes a tensor that an operator returned."""

    argument: int
    """Index of the argument of which it is a view, or which it is; -1 for a tensor of its own."""
    itself: bool
    """Whether it is that argument."""
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype


class Known(NamedTuple):
    """Holds what an operator makes of tensors."""

    made: tuple[Made | None, ...]
    kind: type | None
    """The type of the results together: tuple or list; None for a single one."""
    cost: Cost | None
    """Its cost, if it makes tensors of its own; all of them, then."""


_PLAIN: Final = {torch.dtype, torch.device, torch.memory_format, torch.layout, str}
"""Types of arguments that say all by themselves, beside numbers."""

_FOUND: dict[tuple[Any, ...], Known | None] = {}
"""What is known, by the operator's identity and the arguments; None for what cannot be remembered."""

_RAN: dict[int, Any] = {}
"""The operators in the keys of `_FOUND`, by identity: torch computes their hashes in Python."""


class Operators:
    """Runs operators on fake tensors, each kind of call once."""

    def __init__(self) -> None:
        self._attributes: dict[str, Any] = {}
        """Attributes of a new fake tensor of the active mode."""
        self._guard: Any = None
        """Function that says what happens where somebody asks a fake tensor for its address."""
        self._device = torch.device("cpu")

    def run(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Known | None]:
        """Returns the result of an operator, and what is known of it, if it can be known."""
        key = _key(func, args, kwargs)
        if key is None:
            return func(*args, **kwargs), None
        known = _FOUND.get(key, _FOUND)
        if known is None:
            return func(*args, **kwargs), None
        if known is _FOUND or not self._attributes:
            out = func(*args, **kwargs)
            self._learn(out)
            _RAN[id(func)] = func
            _FOUND[key] = known = _known(func, args, kwargs, out)
            return out, known
        assert isinstance(known, Known)
        if known.kind is None:
            made = known.made[0]
            return (None if made is None else self._again(made, args)), known
        return known.kind([None if made is None else self._again(made, args) for made in known.made]), known

    def _learn(self, out: Any) -> None:
        """Notes the attributes of fake tensors from one that an operator made."""
        if not self._attributes and type(out) is FakeTensor:
            mode: FakeTensorMode = out.fake_mode
            with torch._C._DisableTorchDispatch():
                blank = torch.empty((), device=_META)
            self._attributes = dict(vars(FakeTensor(mode, blank, self._device)))
            guards = torch._C._set_throw_on_mutable_data_ptr, torch._C._set_warn_deprecated_on_mutable_data_ptr
            self._guard = guards[mode._allow_unsafe_data_ptr_access]

    def _again(self, made: Made, args: Any) -> torch.Tensor:
        """Makes a tensor like one that the operator made before."""
        argument, itself, shape, stride, offset, dtype = made
        if itself:
            given: torch.Tensor = args[argument]
            return given
        with torch._C._DisableTorchDispatch():
            if argument < 0:
                inner = torch.empty_strided(shape, stride, dtype=dtype, device=_META)
            else:
                inner = torch.empty(0, dtype=dtype, device=_META)
                inner.set_(args[argument].untyped_storage(), offset, shape, stride)
        fake = torch.Tensor._make_subclass(  # as `FakeTensor.__new__` does
            FakeTensor, inner, False, dispatch_device=True, device_for_backend_keys=self._device
        )
        self._guard(fake)
        vars(fake).update(self._attributes)
        return fake


def _key(func: Any, args: Any, kwargs: Any) -> tuple[Any, ...] | None:
    """Returns what a call's results depend on; None if they depend on more."""
    key: list[Any] = [id(func), torch.get_default_dtype(), torch.is_inference_mode_enabled()]
    if func is _EMPTY_LIKE and type(args[0]) in (torch.Tensor, torch.nn.Parameter) and args[0].device == _META:
        key += (_META, args[0].shape, args[0].stride(), args[0].dtype)
    elif not _describe(args, key):
        return None
    if kwargs:
        for name, value in kwargs.items():
            key.append(name)
            if not _describe((value,), key):
                return None
    return tuple(key)


def _describe(values: Any, key: list[Any]) -> bool:
    """Adds what results depend on of some arguments; returns False if that is not known."""
    for value in values:
        kind = type(value)
        if kind is FakeTensor:
            if value.constant is not None or value.is_neg() or value._fake_device.type != "cpu":
                return False
            key += (value.shape, value.stride(), value.dtype, value.storage_offset())
        elif kind is list or kind is tuple or kind is torch.Size:
            key += (kind, len(value))
            if not _describe(value, key):
                return False
        elif kind is int or kind is float or kind is bool or value is None or kind in _PLAIN:
            key += (kind, value)
        else:
            return False
    return True


def _known(func: Any, args: Any, kwargs: Any, out: Any) -> Known | None:
    """Describes the results of a call, if another call with alike arguments has alike results."""
    outs = out if type(out) in (tuple, list) else (out,)
    if not all(x is None or (type(x) is FakeTensor and x.device.type == "cpu") for x in outs):
        return None  # others are of a device whose tensors are not followed
    if not _is_kept(func, args, kwargs, outs):
        return None
    made = [None if x is None else _made(x, args) for x in outs]
    own = [x for x, m in zip(outs, made, strict=True) if m is not None and m.argument < 0]
    within = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
    if any(x.untyped_storage()._cdata in within for x in own):  # `out=`, or a tensor of a list
        return None
    if any(not _is_whole(x) for x in own) or len({x.untyped_storage()._cdata for x in own}) < len(own):
        return None
    if any(x is not None and (x.constant is not None or x.requires_grad) for x in outs if not _is_given(x, args)):
        return None
    whole = bool(own) and all(m is None or m.argument < 0 for m in made)
    cost = cost_of(func, args, kwargs, out, own) if whole else None
    return Known(tuple(made), type(out) if type(out) in (tuple, list) else None, cost)


def _is_kept(func: Any, args: Any, kwargs: Any, outs: Any) -> bool:
    """Returns whether fake tensors' own cache would keep such a result, or it is known to be safe."""
    if func is _UNSAFE_VIEW or func.namespace == _OWN:
        return True
    mode = next((x.fake_mode for x in outs if x is not None), None)
    if mode is None or any(dtype.is_complex for dtype in (x.dtype for x in outs if x is not None)):
        return False
    try:
        mode._validate_cache_key(func, args, kwargs)
    except Exception:  # torch's `_BypassDispatchCache`
        return False
    return True


def _is_given(x: Any, args: Any) -> bool:
    return any(x is given for given in args)


def _is_whole(x: torch.Tensor) -> bool:
    """Returns whether a tensor fills its storage, so that one like it needs a storage of the same size."""
    with torch._C._DisableTorchDispatch():
        like = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=_META)
    return x.storage_offset() == 0 and like.untyped_storage().nbytes() == x.untyped_storage().nbytes()


def _made(x: torch.Tensor, args: Any) -> Made:
    """Describes a result: an argument itself, a view of one, or a tensor of its own."""
    storage, argument, itself = x.untyped_storage()._cdata, -1, False
    for i, given in enumerate(args):
        if type(given) is FakeTensor and given.untyped_storage()._cdata == storage:
            argument, itself = i, given is x
            if itself:
                break
    return Made(argument, itself, tuple(x.shape), tuple(x.stride()), int(x.storage_offset()), x.dtype)
