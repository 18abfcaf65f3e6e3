"""Follows every live storage of a step on fake tensors and records its allocations and frees as a trace."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from planner.replay.recording.costs import WRITES, Cost, Sums, cost_of
from planner.replay.recording.known import DEVICE, Known, Operators
from planner.replay.recording.storages import Storages
from planner.replay.recording.streams import current_stream
from planner.replay.recording.tensors import leaves_of, local, overwrites_first_argument, parts_of
from planner.replay.recording.trace import Label, Phase

_MATMULS = tuple(getattr(torch.ops.aten, name).default for name in ("mm", "addmm", "bmm", "baddbmm"))
"""Operators that run on cuBLAS and need its workspace."""

_COLLECTIVES = ("fsdp", "c10d", "_c10d_functional")
"""Namespaces of the operators that exchange data between ranks."""


class LiveBytes(Storages, TorchDispatchMode):
    """Records a `Trace` of all storages that live on the step's device while this dispatch mode is active.

    Args:
        block_bytes: What the device's allocator rounds sizes up to, in bytes.
        workspace_bytes: Size of a cuBLAS workspace. Every thread allocates one at its first matrix product and keeps it
            (aten/src/ATen/cuda/CublasHandlePool.cpp): Python's thread, and the one in which autograd runs backward.
        samples: Samples of a micro-batch, by which the tensors are told whose size depends on it; it is a prime where
            that matters.
    """

    def __init__(self, block_bytes: int, workspace_bytes: int = 0, samples: int = 1) -> None:
        super().__init__(block_bytes)
        self.workspace_bytes = workspace_bytes
        self._threads: set[str] = set()
        """Threads that have allocated their cuBLAS workspace."""
        self._sums = Sums(samples)
        self._operators = Operators()

    def __enter__(self) -> LiveBytes:
        self._resize = torch.UntypedStorage.resize_

        def resize_(storage: Any, size: int) -> Any:  # FSDP2 frees and refills gathered parameters by resizing
            result = self._resize(storage, size)
            if storage._cdata in self._live:
                self._drop(storage._cdata)
                name = f"{self.path} gathered".strip()
                self._hold(storage._cdata, size, Label("unsharded_parameters", name, current_stream()))
            return result

        torch.UntypedStorage.resize_ = resize_  # type: ignore[method-assign,assignment]  # restored in __exit__
        self._clear_cache, torch.clear_autocast_cache = torch.clear_autocast_cache, self._clear_autocast_cache
        super().__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        torch.UntypedStorage.resize_ = self._resize  # type: ignore[method-assign]  # the original
        torch.clear_autocast_cache = self._clear_cache
        super().__exit__(*exc)
        self._live.clear()
        self.work.update(self._sums.work())

    def _clear_autocast_cache(self) -> None:
        """Clears autocast's copies of weights and records their frees in the order in which they were allocated.

        Autocast frees them all at once, in the order of a hash table, which has nothing to do with that of the blocks.
        """
        self._cleared = []
        self._clear_cache()
        cleared, self._cleared, scope = sorted(self._cleared, key=lambda live: live.storage), None, self.scope
        for number, size, self.scope in cleared:
            self._write(number, -size)
        self.scope = scope

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leaves out what torch does around each operator for code that is compiled; a replay's is not."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is DEVICE and type(args[0]) is FakeTensor:
            return args[0]._fake_device
        if _wraps_float8(types):
            return NotImplemented  # the wrapper runs operators on its inner tensors, and those come here
        written = args[0].untyped_storage()._cdata if overwrites_first_argument(func, args) else None
        out, known = self._operators.run(func, args, kwargs or {})
        may_follow = known is not None and written is None and self._phase is not Phase.OPTIMIZER
        if known is None or not may_follow or not self._follow(func, known, out):
            leaves = leaves_of(out)
            self._count(func, args, kwargs or {}, out, leaves, known and known.cost)
            if written is not None:
                self._hand_on(written, leaves[0])
            self._add_all(func, args, leaves)
        if self.workspace_bytes and func in _MATMULS:
            self._add_workspace("main" if torch._C._current_graph_task_id() == -1 else "autograd")
        return out

    def _follow(self, func: Any, known: Known, out: Any) -> bool:
        """Counts and records a single result that is known to be a view or a tensor of its own, which most are.

        Returns:
            Whether it is one; if not, nothing has been done.
        """
        if known.kind is not None or (made := known.made[0]) is None:
            return False
        storage = out.untyped_storage()
        if made.argument >= 0:
            if storage._cdata not in self._live:
                return False
            if func._schema.is_mutable:
                self._sum(WRITES)
            return True
        if known.cost is None or self._host.allocates:
            return False
        self._sum(known.cost)
        self._allocated(storage, func)
        return True

    def _add_all(self, func: Any, args: Any, leaves: list[torch.Tensor]) -> None:
        """Records the results of an operator of which nothing is known beforehand."""
        if self._phase is Phase.OPTIMIZER:
            self._update(func, args, leaves)
            return
        for leaf in leaves:
            for part in (leaf,) if type(leaf) is FakeTensor else parts_of(leaf):
                self._add(part, func)

    def _update(self, func: Any, args: Any, leaves: list[torch.Tensor]) -> None:
        """Records the results of an optimizer's operator around the blocks of the parameters that it updates."""
        for i, leaf in enumerate(leaves):
            source = self._source(args, i)
            if source in self._homes:
                self.scope = self._homes[source]
            for part in parts_of(leaf):
                self._add(part, func)
            if source in self._homes:
                self._homes.setdefault(self.number(leaf), self.scope)
                if len(leaves) > 1:
                    self._listed.add(self.number(leaf))

    def _count(self, func: Any, args: Any, kwargs: Any, out: Any, found: list[torch.Tensor], cost: Cost | None) -> None:
        """Adds an operator to its block's work: views not at all, those that write in place as a kernel alone."""
        if cost is None:
            made = [r for r in found if local(r).untyped_storage()._cdata not in self._live]
            if not made and not func._schema.is_mutable:
                return
            cost = cost_of(func, args, kwargs, out, made) if made else WRITES
        self._sum(cost)

    def _sum(self, cost: Cost) -> None:
        """Adds a cost to the block's work."""
        # Backward computes without gradients; what checkpointing computes again in it is to have some.
        is_again = self._phase is Phase.BACKWARD and torch.is_grad_enabled()
        self._sums.add(self._section, self.scope, cost, is_again=is_again)

    def _add_workspace(self, thread: str) -> None:
        """Records a thread's cuBLAS workspace at its first matrix product."""
        if thread not in self._threads:
            self._threads.add(thread)
            self.allocate(self.workspace_bytes, Label("overhead", f"cuBLAS, {thread} thread"))

    def _source(self, args: Any, i: int) -> int:
        """Returns the number of the storage that an optimizer's operator reads for its i-th result; 0 for none."""
        first = args[0] if args else None
        source = first[i] if isinstance(first, list | tuple) and i < len(first) else first
        return self.number(source) if isinstance(source, torch.Tensor) else 0

    def _add(self, tensor: torch.Tensor, func: Any) -> None:
        """Records the storage of an operator's result if it is new, and watches for its end."""
        if tensor.device.type != "cpu":
            return
        storage = tensor.untyped_storage()
        if storage._cdata not in self._live and storage not in self._host:
            if self._host.allocates:
                self._host.add(storage)
                return
            self._allocated(storage, func)

    def _allocated(self, storage: torch.UntypedStorage, func: Any) -> None:
        """Records the storage that an operator allocates, under its name or that of the autograd node that runs it."""
        category = "communication" if func.namespace in _COLLECTIVES else None
        node = torch._C._current_autograd_node()  # type: ignore[attr-defined]  # not in torch's stubs
        self._watch(storage, category, func._opname if node is None else node.name())


@cache
def _wraps_float8(types: tuple[type, ...]) -> bool:
    """Returns whether any of these types is a wrapper by which torchao computes in fp8."""
    return any(issubclass(t, torch.Tensor) and t.__module__.startswith("torchao.float8") for t in types)
