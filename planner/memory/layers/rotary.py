"""Implements rotary position embedding on symbolic tensors, as transformers writes it."""

from __future__ import annotations

from planner.memory.autograd.ops import FP32
from planner.memory.autograd.tape import Storage, Tape, Tensor
from planner.memory.layers.norms import Norms
from planner.memory.settings.dtypes import Dtypes
from planner.memory.settings.trainable import Trainable
from planner.models.vocabulary.forms import RopeCasts, RopeForm


class Rotary(Norms):
    """Adds the rotation of queries and keys to the layers that normalize."""

    def __init__(self, tape: Tape, *, dtypes: Dtypes, trained: Trainable, sequence_length: int) -> None:
        super().__init__(tape, dtypes=dtypes, trained=trained, sequence_length=sequence_length)
        self.rope_itemsize = 0
        """Bytes per element of the table of cos and sin."""
        self._rope: list[Storage] = []
        self.body: list[Storage] = []
        """Storages that variables of a body of the model (`...Model.forward`) keep alive until it returns."""
        self.arguments: list[Storage] = []
        """Storages of the block's own arguments other than hidden states, which FSDP2 casts for the call; alive until
        it returns."""
        self.numbers_samples = False
        """Whether every sample has positions of its own."""

    def of_positions(self, elements: int) -> tuple[int, int]:
        """Returns (fixed, per-sample) elements of a tensor that has `elements` for the positions of one sequence."""
        return (0, elements) if self.numbers_samples else (elements, 0)

    def rope_table(self, x: Tensor, head_dim: int, *, fp32: bool = False, repeated: bool = False) -> None:
        """Makes cos and sin of every position, shared by all blocks and by all samples with the same positions.

        Each product with a query or a key saves the table. Where FSDP2 gives each block a table of its own, or each
        rotation repeats it, that one is saved instead, and the table made here is kept by the model's body alone.

        Args:
            x: A tensor in the dtype of the table.
            head_dim: Columns of cos, and of sin.
            fp32: Whether the table is in fp32 instead.
            repeated: Whether each rotation repeats it (`RopeForm`).
        """
        self.rope_itemsize = FP32 if fp32 else x.itemsize
        if self._casts_table or repeated:
            storage = self._table(head_dim, "rotary cos and sin").storage
            assert storage is not None
            self.body.append(storage)
        else:
            self._save_table(head_dim, "rotary cos and sin")

    @property
    def _casts_table(self) -> bool:
        """Tells whether FSDP2 calls each block with a table of its own, cast from the one that all share."""
        return self.dtypes.casts_inputs and self.rope_itemsize > self.dtypes.other

    def _table(self, head_dim: int, name: str) -> Tensor:
        """Returns a table of cos and sin, `[2, tokens, head_dim]`."""
        fixed, per_sample = self.of_positions(2 * self.sequence_length * head_dim)
        storage = self.tape.storage(fixed * self.rope_itemsize, per_sample * self.rope_itemsize, name)
        return Tensor(storage, fixed, per_sample, head_dim, self.rope_itemsize, None)

    def _save_table(self, head_dim: int, name: str) -> Storage:
        """Makes a table that is saved for backward, and returns its storage."""
        table = self._table(head_dim, name)
        self.tape.save(table)
        assert table.storage is not None
        self._rope.append(table.storage)
        return table.storage

    def rotate(
        self,
        x: Tensor,
        *,
        head_dim: int,
        rotary_dim: int | None = None,
        joins: bool = False,
        casts: RopeCasts = "none",
        tokens_first: bool = False,
        form: RopeForm = "halves",
    ) -> Tensor:
        """Returns `x * cos + rotate_half(x) * sin`, on the first `rotary_dim` columns of each head.

        Args:
            x: Queries or keys of all heads.
            head_dim: Columns of one head.
            rotary_dim: Columns of one head that are rotated; None for all of them. The others are joined to the result.
            joins: Whether the result is joined even if no columns are left over.
            casts: Whether the result is cast back to the dtype of `x`, and whether `x` is cast to fp32 before.
            tokens_first: Whether a joined result is laid out token by token.
            form: How the rotation is written (see `RopeForm`).
        """
        if form in ("interleaved", "complex"):
            return self._interleaved(x) if form == "interleaved" else self._complex(x)
        tables: list[Tensor] = []
        if form == "repeated":
            tables = [self._table((rotary_dim or head_dim) // 2, f"{name}, repeated") for name in ("sin", "cos")]
        else:
            self._take_table(head_dim)
        if casts != "none":
            given = x.itemsize
            x = self.to(x, FP32, "rotary input in fp32") if casts == "both" else x
            return self.to(self.rotate(x, head_dim=head_dim, rotary_dim=rotary_dim), given, "rotary output")
        if rotary_dim in (None, head_dim) and not joins:
            return self._rotate_half(x, *tables)
        width = x.width // head_dim * (rotary_dim or head_dim)
        # A slice of all columns is the tensor itself, while a slice of none is recorded by autograd like any other.
        turned, *rest = self.slices(x, [width, x.width - width]) if width < x.width else (x, *self.slices(x, [0]))
        joined = self.cat([self._rotate_half(turned, *tables), *rest], "rotary join")
        joined.heads_first = not tokens_first
        return joined

    def _take_table(self, head_dim: int) -> None:
        """Makes the block's own table where FSDP2 casts one.

        The table is an argument of the block: a recomputation is called with the same one and makes none.
        """
        if self._casts_table:
            self.rope_itemsize = self.dtypes.other
            if not self.tape.recomputed:
                self.arguments.append(self._save_table(head_dim, "rotary cos and sin cast by FSDP2"))

    def rotate_halves(self, x: Tensor, *, head_dim: int) -> Tensor:
        """Returns `cat(first * cos - second * sin, second * cos + first * sin)` of the halves of each head."""
        first, second = self.slices(x, [x.width // 2, x.width - x.width // 2], split=True)
        left = self._difference(self._turned(first), self._turned(second))
        right = self.add(self._turned(second), self._turned(first), "rotary output")
        del first, second
        out = self.cat([left, right], "rotary output")
        out.heads_first = True
        return out

    def _turned(self, x: Tensor, table: Tensor | None = None) -> Tensor:
        """Returns the product of `x` and cos or sin, in the wider dtype of both; a table of its own is saved."""
        itemsize = max(x.itemsize, self.rope_itemsize)
        if table is None or x.variable is None:
            return self.unary(x, "rotary product", itemsize=itemsize)
        saved = self.tape.save(table)
        out = self.tensor(x.per_sample, x.width, itemsize, "rotary product", x)
        return self.differentiate(out, self._targets(out, x), [saved])

    def _rotate_half(self, x: Tensor, sin: Tensor | None = None, cos: Tensor | None = None) -> Tensor:
        """Returns `x * cos + rotate_half(x) * sin` of all columns."""
        with_cos = self._turned(x, cos)
        first, second = self.slices(x, [x.width // 2, x.width - x.width // 2])
        second = self.unary(second, "rotary half")
        turned = self.cat([second, first], "rotary halves")
        del first, second
        with_sin = self._turned(turned, sin)
        del turned
        return self.add(with_cos, with_sin, "rotary output")

    def _interleaved(self, x: Tensor) -> Tensor:
        """Returns `cat(even * cos - odd * sin, odd * cos + even * sin)`.

        Source: transformers, modeling_deepseek_v3.py, `apply_rotary_pos_emb_interleave`.
        """
        table = max(x.itemsize, self.rope_itemsize)
        even, odd = self.slices(x, [x.width // 2] * 2)
        with_cos = self.unary(even, "rotary product", itemsize=table)
        left = self._difference(with_cos, self.unary(odd, "rotary product", itemsize=table))
        del with_cos
        with_cos = self.unary(odd, "rotary product", itemsize=table)
        right = self.add(with_cos, self.unary(even, "rotary product", itemsize=table), "rotary sum")
        del with_cos
        return self.cat([left, right], "rotary output")

    def _difference(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns `a - b`; the gradient is handed on to `a` itself, and its negative to `b`."""
        out = self.tensor(a.per_sample, a.width, a.itemsize, "rotary difference", a, b)
        if out.variable is None or a.variable is None or b.variable is None:
            return out
        to_a, to_b, size = a.variable, b.variable, out.per_sample * out.itemsize

        def backward(gradient: Storage) -> None:
            negative = self.tape.storage(0, size)
            self.tape.cost.bytes_per_sample += 2 * size
            self.tape.accumulate(to_a, gradient)
            self.tape.accumulate(to_b, negative)

        self.tape.record(out.variable, backward)
        return out

    def _complex(self, x: Tensor) -> Tensor:
        """Returns `view_as_real(view_as_complex(x.float()) * table).type_as(x)`."""
        given = x.itemsize
        turned = self.unary(self.to(x, FP32, "rotary input in fp32"), "rotary product")
        return self.to(turned, given, "rotary output")
