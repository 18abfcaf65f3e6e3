"""Replaces functions of torch, while a replay lasts, by ones that do the same in less time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

import torch
from torch.nn import Module, init

_FILLS: Final = ("uniform_", "normal_", "constant_", "ones_", "zeros_", "kaiming_uniform_", "kaiming_normal_")
"""Functions of `torch.nn.init` by which layers and adapters fill their parameters."""

_named_modules = Module.named_modules
"""torch's own function."""


@contextmanager
def shortcuts() -> Iterator[None]:
    """Walks through modules without recursion, and fills no tensor that has no memory, while the context lasts.

    Building, adapting and placing a model walks through all its modules some forty times, and torch passes each module
    through a generator for every module that it is in.
    """
    originals = {name: getattr(init, name) for name in _FILLS}
    Module.named_modules = named_modules  # type: ignore[method-assign]  # restored below
    for name, original in originals.items():
        setattr(init, name, _unless_meta(original))
    try:
        yield
    finally:
        Module.named_modules = _named_modules  # type: ignore[method-assign]  # the original
        for name, original in originals.items():
            setattr(init, name, original)


def named_modules(
    self: Module, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
) -> Iterator[tuple[str, Module]]:
    """Replaces `torch.nn.Module.named_modules`: the same modules in the same order.

    As there, the modules within one are looked up after it has been yielded.
    """
    memo = set() if memo is None else memo
    if self in memo:
        return
    if remove_duplicate:
        memo.add(self)
    yield prefix, self
    walks = [(prefix and f"{prefix}.", iter(self._modules.items()))]
    while walks:
        within, modules = walks[-1]
        for name, module in modules:
            if module is None:
                continue
            if type(module).named_modules is not named_modules:  # a class that does something else as well
                yield from module.named_modules(memo, within + name, remove_duplicate)
            elif module not in memo:
                if remove_duplicate:
                    memo.add(module)
                yield within + name, module
                if module._modules:
                    walks.append((f"{within}{name}.", iter(module._modules.items())))
                    break
        else:
            walks.pop()


def _unless_meta(fill: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a function that fills a tensor, so that it leaves one on the meta device as it is."""

    @wraps(fill)
    def call(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return tensor if tensor.is_meta else fill(tensor, *args, **kwargs)

    return call
