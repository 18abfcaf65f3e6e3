"""Implements operations that join, cut and fill tensors."""

from __future__ import annotations

from collections.abc import Sequence

from planner.memory.autograd.elementwise import Elementwise
from planner.memory.autograd.tape import Storage, Tensor, Variable


class Views(Elementwise):
    """Joins tensors, and takes slices of them."""

    def cat(self, parts: Sequence[Tensor], name: str) -> Tensor:
        """Joins tensors along columns; backward passes views of its gradient on."""
        width, itemsize = sum(p.width for p in parts), max(p.itemsize for p in parts)
        out = self.tensor(sum(p.per_sample for p in parts), width, itemsize, name, *parts)
        return self.pass_on(out, parts)

    def fill_slices(self, first: Tensor, shared: Tensor, heads: int, name: str) -> Tensor:
        """Makes an empty tensor and copies two tensors into slices of it with `copy_`.

        Backward of each copy makes a copy of the whole gradient, which it passes on, and a clone of its slice
        (torch/csrc/autograd/functions/tensor.cpp, `CopySlices`). Backward of the second copy also makes zeros for what
        it overwrote; that of the first finds nothing there that needs a gradient.

        Args:
            first: Copied into the first columns of each head.
            shared: Copied into the other columns of each head, expanded over the heads.
            heads: Number of heads.
            name: Name of the result among saved tensors.
        """
        columns = shared.per_sample * heads
        out = self.tensor(
            first.per_sample + columns, first.width + shared.width * heads, first.itemsize, name, first, shared
        )
        if out.variable is None:
            return out
        tape, base, size, itemsize = self.tape, Variable(), out.per_sample * out.itemsize, first.itemsize
        parts = [
            (x.variable, elements * itemsize, elements * x.itemsize, x.per_sample * x.itemsize)
            for x, elements in ((first, first.per_sample), (shared, columns))
        ]

        def copied(variable: Variable | None, clone: int, cast: int, summed: int, *, overwrites: bool) -> Storage:
            whole, made = tape.storage(0, size), tape.storage(0, clone)
            tape.cost.bytes_per_sample += 2 * size + 2 * clone
            _zeros = tape.storage(0, clone) if overwrites else None
            for wanted in (cast, summed):
                made = made if wanted == made.per_sample else tape.storage(0, wanted)
            if variable is not None:
                tape.accumulate(variable, made)
            return whole

        def of_first(gradient: Storage) -> None:
            copied(*parts[0], overwrites=False)

        def of_shared(gradient: Storage) -> None:
            tape.accumulate(base, copied(*parts[1], overwrites=True))

        tape.record(base, of_first)
        tape.record(out.variable, of_shared)
        return out

    def slices(self, x: Tensor, widths: Sequence[int], *, split: bool = False) -> list[Tensor]:
        """Returns views of consecutive columns of the given widths.

        The gradient of each slice is a zero-filled tensor as large as x (`slice_backward`). With `split`, which stands
        for torch's `split` and `chunk`, one concatenation of all parts' gradients takes their place.
        """
        rows = x.per_sample // x.width
        parts = [
            Tensor(x.storage, 0, rows * width, width, x.itemsize, Variable() if x.variable is not None else None)
            for width in widths
        ]
        if x.variable is None:
            return parts
        variables = [part.variable for part in parts if part.variable is not None]
        variable, size = x.variable, x.per_sample * x.itemsize

        def backward(gradient: Storage) -> None:
            self.tape.cost.bytes_per_sample += 2 * size
            whole = self.tape.storage(0, size)
            if split:
                for v in variables:
                    v.gradient = None
            self.tape.accumulate(variable, whole)

        for v in variables[:1] if split else variables:
            self.tape.record(v, backward)
        return parts

    def first_token(self, x: Tensor) -> Tensor:
        """Returns a view of each sample's first row; its gradient is zero-filled, as large as x (`select_backward`)."""
        out = Tensor(x.storage, 0, x.width, x.width, x.itemsize, Variable() if x.variable is not None else None)
        return self.differentiate(out, self.own_targets(x))
