"""Implements DeBERTa's attention on symbolic tensors, and what its encoder makes once for all blocks.

Source: transformers/models/deberta_v2/modeling_deberta_v2.py.
"""

from __future__ import annotations

from collections.abc import Callable

from planner.memory.autograd.ops import BOOL, FP32
from planner.memory.autograd.tape import Tensor, Variable
from planner.memory.layers.norms import Norms
from planner.models.architecture import INT64


class Disentangled(Norms):
    """Implements `planner.models.vocabulary.disentangled.Disentangled[Tensor]`."""

    def keep_in_body(self, x: Tensor) -> None:
        """Keeps `x` alive until the model's body returns; `Layers` implements it."""
        raise NotImplementedError  # abstract, but a protocol of operations declares it, which has no abstract methods

    # --- computed once ---

    def once(self, compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Returns `compute(x)`, computed once whatever the micro-batch.

        Within `compute`, the elements that all samples share are written as those of one sample, so that the usual
        operations apply; the tape counts their bytes as fixed.

        Args:
            compute: Operations to run once.
            x: A tensor whose elements are shared by all samples.

        Returns:
            A tensor whose elements are shared by all samples.
        """
        with self.tape.once():
            out = compute(Tensor(x.storage, 0, x.fixed, x.width, x.itemsize, x.variable))
        return Tensor(out.storage, out.per_sample, 0, out.width, out.itemsize, out.variable)

    def table(self, name: str, num_embeddings: int, width: int) -> Tensor:
        """Returns the whole weight of an embedding, `[num_embeddings, width]`, which nothing looks up."""
        weight = self.parameter(f"{name}.weight", num_embeddings * width, self.dtypes.other, trains=self.trains_base)
        weight.width = width
        return weight

    def repeat_positions(self, x: Tensor) -> Tensor:
        """Copies rows that were computed once, so that each sample has its own."""
        return self.broadcast(x, x.fixed, "repeated positions")

    # --- masks and distances ---

    def padding_mask(self) -> Tensor:
        """Returns ones in fp32, one per token; the body keeps them and the int64 token types alive."""
        tokens = self.sequence_length
        types = Tensor(self.tape.storage(0, tokens * INT64, "token types"), 0, tokens, 1, INT64, None)
        mask = self.tensor(tokens, 1, FP32, "padding mask")
        self.keep_in_body(types)
        self.keep_in_body(mask)
        return mask

    def hide_padding(self, x: Tensor, mask: Tensor) -> Tensor:
        """Returns the rows of `x` times the mask, which is cast to their dtype."""
        return self.mul(x, self.to(mask, x.itemsize, "padding mask cast"), "embeddings without padding")

    def pair_mask(self, mask: Tensor) -> Tensor:
        """Returns for each pair of a sample's tokens whether both are there, `[tokens, tokens]`; the body keeps it."""
        pairs = self.tensor(self.sequence_length**2, self.sequence_length, mask.itemsize, "pair mask", mask)
        self.keep_in_body(pairs)
        return pairs

    def distances(self) -> Tensor:
        """Returns the int64 bucket of each pair of positions, shared by all samples; the body keeps it.

        The intermediates of `build_relative_position` are left out: they are gone before a block begins, and smaller
        than a block.
        """
        out = self.fixed(self.sequence_length**2, INT64, "distances")
        self.keep_in_body(out)
        return out

    def as_bool(self, mask: Tensor) -> Tensor:
        """Returns the mask cast to booleans."""
        return self.to(mask, BOOL, "mask of booleans")

    # --- attention ---

    def by_heads(self, x: Tensor, heads: int) -> Tensor:
        """Returns `permute(0, 2, 1, 3).contiguous()` of `x`, which leaves a single head as it is."""
        return x if heads == 1 else self.unary(x, "heads first")

    def content_scores(self, query: Tensor, key: Tensor, heads: int) -> Tensor:
        """Returns `query @ (key / scale).T`: `[heads, tokens, tokens]` elements per sample."""
        sequence = self.sequence_length
        scaled = self.unary(key, "scaled key")
        flops = 2 * query.per_sample * sequence
        return self.matmul(query, scaled, heads * sequence**2, sequence, flops, "content scores")

    def position_scores(
        self, query: Tensor, key: Tensor, position_query: Tensor, position_key: Tensor, heads: int
    ) -> Tensor:
        """Returns content-to-position plus position-to-content scores, `[heads, tokens, tokens]` per sample.

        Local variables of the function keep both indices and the first gathered product alive until it returns.

        Args:
            query: Queries of the tokens.
            key: Keys of the tokens.
            position_query: Queries of all distances, copied for each sample.
            position_key: Keys of all distances, copied for each sample.
            heads: Number of heads.
        """
        product = self._products(query, position_key, heads, "content to position")
        c2p_index = self._index("content to position")
        c2p = product = self._gathered(product, c2p_index, heads, "content to position")
        scores = self.unary(self.unary(c2p, "content to position, scaled"), "position scores")  # added to 0
        p2c_index = self._index("position to content")
        product = self._products(key, position_query, heads, "position to content")
        product = self._gathered(product, p2c_index, heads, "position to content")
        return self._added_in_place(scores, self.unary(product, "position to content, scaled"))

    def _products(self, content: Tensor, positions: Tensor, heads: int, name: str) -> Tensor:
        """Returns the product of contents with the rows of all distances, `[heads, tokens, distances]` per sample."""
        rows = positions.per_sample // positions.width
        elements, flops = heads * self.sequence_length * rows, 2 * content.per_sample * rows
        return self.matmul(content, positions, elements, rows, flops, name)

    def _index(self, name: str) -> Tensor:
        """Returns int64 indices for `gather`: distances shifted to begin at 0, then clamped."""
        _moved = self.tape.storage(self.sequence_length**2 * INT64, 0)
        return self.fixed(self.sequence_length**2, INT64, f"{name}, index")

    def _gathered(self, product: Tensor, index: Tensor, heads: int, name: str) -> Tensor:
        """Returns the entry of `product` at each pair's distance.

        `gather` saves the index and, only for its shape, what it gathers from (derivatives.yaml, `gather_backward`).
        """
        saved = [self.tape.save(x) for x in (product, index)] if product.variable is not None else []
        pairs = self.sequence_length**2
        out = self.tensor(heads * pairs, self.sequence_length, product.itemsize, f"{name}, gathered", product)
        return self.differentiate(out, self.own_targets(product), saved)

    def _added_in_place(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns `x += y`, in the storage of `x`."""
        self.tape.cost.bytes_per_sample += 3 * x.per_sample * x.itemsize
        needs_gradient = x.variable is not None or y.variable is not None
        variable = Variable() if needs_gradient else None
        out = Tensor(x.storage, 0, x.per_sample, x.width, x.itemsize, variable)
        return self.pass_on(out, (x, y))

    def fill_masked(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Returns `masked_fill(~mask, ...)` of the scores, which saves the inverted mask, one for all heads."""
        inverted = self.to(mask.constant(FP32), BOOL, "inverted mask")
        saved = [self.tape.save(inverted)] if scores.variable is not None else []
        out = self.tensor(scores.per_sample, scores.width, scores.itemsize, "masked scores", scores)
        return self.differentiate(out, self.own_targets(scores), saved)

    def pair_probabilities(self, scores: Tensor) -> Tensor:
        """Returns the softmax of the scores, which autocast runs in fp32."""
        return self.softmax(scores, scores.itemsize if self.autocast is None else FP32)

    def weighted(self, probabilities: Tensor, value: Tensor, heads: int) -> Tensor:
        """Returns `probabilities @ value` for each head, copied back to token order."""
        flops = 2 * value.per_sample * self.sequence_length
        out = self.matmul(probabilities, value, value.per_sample, value.width, flops, "attention output")
        return self.by_heads(out, heads)
