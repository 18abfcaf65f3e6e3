"""DeBERTa's attention on symbolic tensors, and what its encoder makes once for all blocks.

Source: transformers/models/deberta_v2/modeling_deberta_v2.py.
"""

from __future__ import annotations

from collections.abc import Callable

from planner.memory.autograd.ops import BOOL, FP32
from planner.memory.autograd.tape import Tensor, Variable
from planner.memory.layers.norms import Norms
from planner.models.architecture import INT64


class Disentangled(Norms):
    """Implements `planner.models.disentangled.Disentangled[Tensor]`."""

    def keep_in_body(self, x: Tensor) -> None:
        raise NotImplementedError

    # --- computed once ---

    def once(self, compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Within, elements of one sample are those of all."""
        with self.tape.once():
            out = compute(Tensor(x.storage, 0, x.fixed, x.width, x.itemsize, x.variable))
        return Tensor(out.storage, out.per_sample, 0, out.width, out.itemsize, out.variable)

    def table(self, name: str, num_embeddings: int, width: int) -> Tensor:
        weight = self.parameter(f"{name}.weight", num_embeddings * width, self.dtypes.other, trains=self.trains_base)
        weight.width = width
        return weight

    def repeat_positions(self, x: Tensor) -> Tensor:
        return self.broadcast(x, x.fixed, "repeated positions")

    # --- masks and distances ---

    def padding_mask(self) -> Tensor:
        tokens = self.sequence_length
        types = Tensor(self.tape.storage(0, tokens * INT64, "token types"), 0, tokens, 1, INT64, None)
        mask = self.tensor(tokens, 1, FP32, "padding mask")
        self.keep_in_body(types)
        self.keep_in_body(mask)
        return mask

    def hide_padding(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.mul(x, self.to(mask, x.itemsize, "padding mask cast"), "embeddings without padding")

    def pair_mask(self, mask: Tensor) -> Tensor:
        pairs = self.tensor(self.sequence_length**2, self.sequence_length, mask.itemsize, "pair mask", mask)
        self.keep_in_body(pairs)
        return pairs

    def distances(self) -> Tensor:
        """`build_relative_position`: its intermediates are gone before a block begins, and smaller than a block."""
        out = self.fixed(self.sequence_length**2, INT64, "distances")
        self.keep_in_body(out)
        return out

    def as_bool(self, mask: Tensor) -> Tensor:
        return self.to(mask, BOOL, "mask of booleans")

    # --- attention ---

    def by_heads(self, x: Tensor, heads: int) -> Tensor:
        """`permute(0, 2, 1, 3).contiguous()`, which leaves a single head as it is."""
        return x if heads == 1 else self.unary(x, "heads first")

    def content_scores(self, query: Tensor, key: Tensor, heads: int) -> Tensor:
        sequence = self.sequence_length
        scaled = self.unary(key, "scaled key")
        flops = 2 * query.per_sample * sequence
        return self.matmul(query, scaled, heads * sequence**2, sequence, flops, "content scores")

    def position_scores(
        self, query: Tensor, key: Tensor, position_query: Tensor, position_key: Tensor, heads: int
    ) -> Tensor:
        """Variables of the function keep both indices and the first gathered product until it returns."""
        product = self._products(query, position_key, heads, "content to position")
        c2p_index = self._index("content to position")
        c2p = product = self._gathered(product, c2p_index, heads, "content to position")
        scores = self.unary(self.unary(c2p, "content to position, scaled"), "position scores")  # 0 + x
        p2c_index = self._index("position to content")
        product = self._products(key, position_query, heads, "position to content")
        product = self._gathered(product, p2c_index, heads, "position to content")
        return self._added_in_place(scores, self.unary(product, "position to content, scaled"))

    def _products(self, content: Tensor, positions: Tensor, heads: int, name: str) -> Tensor:
        """With the rows of all distances."""
        rows = positions.per_sample // positions.width
        elements, flops = heads * self.sequence_length * rows, 2 * content.per_sample * rows
        return self.matmul(content, positions, elements, rows, flops, name)

    def _index(self, name: str) -> Tensor:
        """Distances moved to begin at 0, then clamped."""
        _moved = self.tape.storage(self.sequence_length**2 * INT64, 0)
        return self.fixed(self.sequence_length**2, INT64, f"{name}, index")

    def _gathered(self, product: Tensor, index: Tensor, heads: int, name: str) -> Tensor:
        """Each pair's distance: `gather` saves the index and, for nothing but its shape, what it gathers from
        (derivatives.yaml, `gather_backward`)."""
        saved = [self.tape.save(x) for x in (product, index)] if product.variable is not None else []
        pairs = self.sequence_length**2
        out = self.tensor(heads * pairs, self.sequence_length, product.itemsize, f"{name}, gathered", product)
        return self.differentiate(out, self.own_targets(product), saved)

    def _added_in_place(self, x: Tensor, y: Tensor) -> Tensor:
        """`x += y`"""
        self.tape.cost.bytes_per_sample += 3 * x.per_sample * x.itemsize
        needs_gradient = x.variable is not None or y.variable is not None
        variable = Variable() if needs_gradient else None
        out = Tensor(x.storage, 0, x.per_sample, x.width, x.itemsize, variable)
        return self.pass_on(out, (x, y))

    def fill_masked(self, scores: Tensor, mask: Tensor) -> Tensor:
        """`masked_fill(~mask, ...)` saves the inverted mask, of which there is one for all heads."""
        inverted = self.to(mask.constant(FP32), BOOL, "inverted mask")
        saved = [self.tape.save(inverted)] if scores.variable is not None else []
        out = self.tensor(scores.per_sample, scores.width, scores.itemsize, "masked scores", scores)
        return self.differentiate(out, self.own_targets(scores), saved)

    def pair_probabilities(self, scores: Tensor) -> Tensor:
        """Autocast runs the softmax in fp32."""
        return self.softmax(scores, scores.itemsize if self.autocast is None else FP32)

    def weighted(self, probabilities: Tensor, value: Tensor, heads: int) -> Tensor:
        flops = 2 * value.per_sample * self.sequence_length
        out = self.matmul(probabilities, value, value.per_sample, value.width, flops, "attention output")
        return self.by_heads(out, heads)
