"""Interprets linear layers, attention and elementwise operations, as transformers and PEFT compose them."""

from __future__ import annotations

from collections.abc import Sequence

from planner.memory.attention import attention as attention_kernels
from planner.memory.attention.fused import Form, key_tokens
from planner.memory.autograd import in_place
from planner.memory.autograd.marks import ACTIVATION
from planner.memory.autograd.ops import FP32, HALF
from planner.memory.autograd.tape import Tensor
from planner.memory.layers.activations import COMPOSED
from planner.memory.layers.pass_state import PassState
from planner.memory.linear.adapters import adapted
from planner.memory.linear.plain import Base, fp32_layer, module_layer, plain_layer, written_out_layer
from planner.memory.linear.quantized import KINDS
from planner.models.vocabulary.forms import OwnAttention
from strategies import Lora, quantization_of


class Sublayers(PassState):
    """Runs what a block is made of."""

    evaluates: bool = False
    """Whether the model evaluates, so that dropouts drop nothing."""

    def linear(  # type: ignore[override]  # a layer by its name, not an operation on its weights
        self,
        name: str,
        x: Tensor,
        out_features: int,
        *,
        bias: bool = False,
        adapts: bool = True,
        written_out: bool = False,
        kept: bool = False,
        in_head: bool = False,
    ) -> Tensor:
        """Returns the output of the linear layer `name`, with that of its adapter where the method has one.

        The fine-tuning method decides which layer it is: quantized, in fp8 or plain. A layer that is `kept` in fp32 is
        never quantized, and one of a head that trains as a module has no adapter either.
        """
        method = self.method
        if in_head and self.trained.head and not self.trained.weights:
            return module_layer(self, name, x, out_features, bias)
        quantized = KINDS.get(quantization_of(method))
        unquantized = fp32_layer if kept else written_out_layer if written_out else plain_layer
        if self.dtypes.fp8:
            from planner.memory.linear import float8

            self.unconverted = name if self.unconverted == "" else self.unconverted
            if name != self.unconverted and float8.converts(x.width, out_features):
                unquantized = float8.layer
        layer, base = (quantized.layer, quantized.base) if quantized and not kept else (unquantized, Base())
        if isinstance(method, Lora) and (adapts or method.separates_experts) and method.adapts(name.rpartition(".")[2]):
            return adapted(self, method, name, x, out_features, bias, layer, base)
        return layer(self, name, x, out_features, bias)[0]

    def attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        heads: int,
        kv_heads: int,
        dropout: float = 0.0,
        upcast: bool = True,
        capped: bool = False,
        window: int | None = None,
        fp32: bool = False,
        causal: bool = True,
        downcast: bool = True,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Returns attention by the kernel of the chosen implementation, as wide as all heads' values."""
        dropout, keys = self._share(dropout), key_tokens(self, query, key, heads // kv_heads)
        form = Form(heads, kv_heads, dropout, upcast, capped, window, fp32, causal, downcast, bias, self.selection)
        return self.attention_kernel(self, query, key, value, form._replace(keys=keys))

    def own_attention(
        self,
        form: OwnAttention,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        heads: int,
        kv_heads: int,
        dropout: float = 0.0,
        name: str = "",
    ) -> Tensor:
        """Returns causal self-attention as the modeling file itself writes it.

        With SDPA it is torch's kernel with a mask that the model made; otherwise it is the eager `form`.
        """
        from planner.memory.attention import eager_variants as own  # of a few families

        sinks = self.parameter(name, heads, self.dtypes.other, trains=self.trains_base) if name else None
        asked = own.Form(heads, kv_heads, self._share(dropout), sinks)
        if self.runs_sdpa:
            per_head = form == "alibi_in_fp32"
            return attention_kernels.with_mask(self, query, key, value, asked.usual(self.selection), per_head=per_head)
        return own.FORMS[form](self, query, key, value, asked)

    def activation(self, function: str, x: Tensor) -> Tensor:
        """Returns the activation of `x`; a function that is not in `COMPOSED` is one kernel that saves its input."""
        composed = COMPOSED.get(function)
        with self.tape.module(ACTIVATION):
            return composed(self, x) if composed else self.unary(x, function, saves="input")

    def add(self, a: Tensor, b: Tensor, name: str = "residual") -> Tensor:
        """Returns `a + b`, which saves nothing."""
        return super().add(a, b, name)

    def add_(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns `a += b`, in the storage of `a`."""
        return in_place.add_(self, a, b)

    def repeat(self, x: Tensor, columns: int) -> Tensor:
        """Returns a contiguous copy of heads, each repeated as often as it takes to fill `columns` columns."""
        out = self.broadcast(x, self.sequence_length * columns, "repeated heads")
        out.width = columns
        return out

    def clamp(self, x: Tensor) -> Tensor:
        """Returns `x` limited to an interval; `x` is saved for backward."""
        return in_place.clamp(self, x, "clamped")

    def mul(self, a: Tensor, b: Tensor, name: str = "product") -> Tensor:
        """Returns `a * b`; each factor is saved for the other's gradient."""
        return super().mul(a, b, name)

    def cap(self, x: Tensor, name: str = "capped") -> Tensor:
        """Returns `tanh(x / cap) * cap`, or `x` itself where a fused loss has capped its logits already."""
        return super().cap(x, name) if self.loss is None else x

    def times(self, x: Tensor) -> Tensor:
        """Returns the product of `x` and a number, which saves nothing."""
        return self.unary(x, "scaled")

    def times_positions(self, x: Tensor) -> Tensor:
        """Returns the product of `x` and an fp32 number for each position, cast back to the dtype of `x`."""
        return self.to(self.unary(x, "times positions", itemsize=FP32), x.itemsize, "scaled by position")

    def dropout(self, x: Tensor, probability: float, name: str = "dropout") -> Tensor:
        """Returns `x` after a dropout, which saves a mask of one byte per element; at probability 0, `x` itself."""
        return super().dropout(x, self._share(probability), name)

    def _share(self, dropout: float) -> float:
        """Returns the probability with which elements are dropped: 0 in evaluation."""
        return 0.0 if self.evaluates else dropout

    def join(self, parts: Sequence[Tensor], *, heads_first: bool = False) -> Tensor:
        """Returns the concatenation of columns, by head and laid out head by head if `heads_first`."""
        joined = self.cat(parts, "joined columns")
        joined.heads_first = heads_first
        return joined

    def fill(self, first: Tensor, shared: Tensor, *, heads: int) -> Tensor:
        """Returns a new tensor whose heads each have their `first` columns and then the `shared` ones."""
        filled = self.fill_slices(first, shared, heads, "filled columns")
        filled.heads_first = True
        return filled

    def to_kept(self, x: Tensor) -> Tensor:
        """Returns `x` in the dtype of layers that are kept in fp32 where others are in fp16."""
        return self.to(x, self.dtypes.kept, "input in the weight's dtype")

    def clamp_fp16(self, x: Tensor) -> Tensor:
        """Returns `x` clamped where it is in fp16, otherwise `x` itself."""
        return self.clamp(x) if self.dtypes.half_is_fp16 and x.itemsize == HALF else x
