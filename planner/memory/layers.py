"""The forward vocabulary on symbolic tensors: each layer as transformers and PEFT compose it from operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from planner.memory import attention as attention_kernels
from planner.memory import experts as mixture
from planner.memory.activations import COMPOSED
from planner.memory.fused_attention import Form
from planner.memory.numerics import Numerics
from planner.memory.ops import Ops
from planner.memory.quantized import matmul_4bit
from planner.memory.rotary import Rotary
from planner.memory.sdpa import Selection
from planner.memory.tape import Storage, Tape, Tensor, Variable
from planner.models import Linear
from strategies import Attention, Finetuning, Full, Lora, Method

Layer = Callable[[str, Tensor, int, bool], Tensor]
"""A linear layer without adapter: from name, input, width of the output and whether it has a bias."""


class Layers(Rotary):
    """Interprets a family's forward pass: implements `planner.models.forward.Forward[Tensor]`."""

    def __init__(
        self,
        tape: Tape,
        *,
        numerics: Numerics,
        method: Method,
        attention: Attention,
        sequence_length: int,
        selection: Selection,
        loss: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
    ) -> None:
        super().__init__(tape, numerics=numerics, trains_base=isinstance(method, Full), sequence_length=sequence_length)
        self.method = method
        self.attention_choice = attention
        self.attention_kernel = attention_kernels.KERNELS[attention]
        self.selection = selection
        self.loss = loss
        """Of hidden states, weight and bias of the head, where it makes no logits; the model's head returns it."""
        self.held: list[Storage] = []
        """What Python variables of the model's own forward keep alive until the whole forward pass returns."""
        self.input_requires_grad = False
        """PEFT's `enable_input_require_grads`: the output of frozen input embeddings gets a gradient nevertheless."""
        self.leaf: Tensor | None = None
        """That output, which as a leaf of autograd's graph lives as long as the graph."""
        self.embedded: Storage | None = None
        """What the backbone calls `inputs_embeds`."""

    def leave_block(self, out: Tensor) -> Tensor:
        """What a block returns."""
        return out

    def leave_forward(self) -> None:
        """The model's forward has returned: its variables and autocast's copies are gone."""
        self.leave_autocast()
        self.held.clear()

    # --- linear layers, by fine-tuning method ---

    def linear(self, name: str, x: Tensor, out_features: int, *, bias: bool = False, adapts: bool = True) -> Tensor:  # type: ignore[override]  # a layer by its name, not an operation on its weights
        layer = self._quantized if self.method.method is Finetuning.QLORA else self._base
        if adapts and isinstance(self.method, Lora) and self.method.adapts(name.rpartition(".")[2]):
            return self._adapted(layer, name, x, out_features, bias, self.method.rank)
        return layer(name, x, out_features, bias)

    def _base(self, name: str, x: Tensor, out_features: int, bias: bool) -> Tensor:
        itemsize, trains = self.numerics.linear, self.trains_base
        weight = self.parameter(f"{name}.weight", x.width * out_features, itemsize, trains=trains)
        bias_vector = self.parameter(f"{name}.bias", out_features, itemsize, trains=trains) if bias else None
        return super().linear(x, weight, bias_vector, out_features, name)

    def _adapted(self, layer: Layer, name: str, x: Tensor, out_features: int, bias: bool, rank: int) -> Tensor:
        """`layer(x) + B(A(x)) * scaling` (peft/tuners/lora/layer.py, bnb.py): x is cast to the adapter's dtype first,
        and, over a quantized layer, the sum is written into a copy of the layer's output."""
        out, itemsize = layer(name, x, out_features, bias), self.numerics.adapter
        given = out.itemsize
        if self.method.method is Finetuning.QLORA:
            out = self.unary(out, f"{name} clone")
            if self.autocast is None:
                x = self.to(x, itemsize, f"{name} lora input")
        else:
            x = self.to(x, itemsize, f"{name} lora input")
        down = self.parameter(f"{name}.lora_A", x.width * rank, itemsize, trains=True)
        up = self.parameter(f"{name}.lora_B", rank * out_features, itemsize, trains=True)
        low = super().linear(x, down, None, rank, f"{name} lora_A")
        scaled = self.unary(super().linear(low, up, None, out_features, f"{name} lora_B"), f"{name} lora scaling")
        out = self.add(out, scaled, f"{name} lora sum")
        del low, scaled
        return self.to(out, given, f"{name} lora output")

    def _quantized(self, name: str, x: Tensor, out_features: int, bias: bool) -> Tensor:
        assert isinstance(self.method, Lora)
        compute, given = self.numerics.linear, x.itemsize
        out = matmul_4bit(self, self.to(x, compute, f"{name} input"), out_features, self.method.quantization, name)
        if bias:
            out = self.add(out, self.parameter(f"{name}.bias", out_features, compute, trains=False), f"{name} bias")
        return self.to(out, given, f"{name} output")

    # --- embeddings and head ---

    def embedding(self, name: str, num_embeddings: int, width: int, *, scaled: bool = False) -> Tensor:
        out = self._lookup(name, num_embeddings, width, 0, self.sequence_length * width)
        out = self.times(out) if scaled else out
        if self.input_requires_grad and out.variable is None:
            out.variable, self.leaf = Variable(), out
        self.embedded = out.storage
        return out

    def positions(self, name: str, num_embeddings: int, width: int) -> Tensor:
        return self._lookup(name, num_embeddings, width, self.sequence_length * width, 0)

    def _lookup(self, name: str, num_embeddings: int, width: int, fixed: int, per_sample: int) -> Tensor:
        """The gradient of an embedding is dense: as large as the table (`embedding_dense_backward`)."""
        itemsize = self.numerics.other
        table = self.parameter(f"{name}.weight", num_embeddings * width, itemsize, trains=self.trains_base)
        storage = self.tape.storage(fixed * itemsize, per_sample * itemsize, f"{name} output")
        out = Tensor(storage, fixed, per_sample, width, itemsize, None)
        self.tape.cost.bytes_per_sample += 2 * per_sample * itemsize
        if table.variable is not None:
            out.variable, variable, size = Variable(), table.variable, table.fixed * itemsize

            def backward(gradient: Storage) -> None:
                self.tape.cost.fixed_bytes += size
                self.tape.accumulate(variable, self.tape.storage(size, 0))

            self.tape.record(out.variable, backward)
        return out

    def lm_head(
        self, name: str, x: Tensor, vocab_size: int, *, tied_to: str | None, scaled: bool = False, bias: bool = False
    ) -> Tensor:
        weight = self.parameter(
            f"{tied_to or name}.weight", x.width * vocab_size, self.numerics.other, trains=self.trains_base
        )
        if x.storage is not None:  # `outputs.last_hidden_state` in transformers' ...ForCausalLM.forward
            self.held.append(x.storage)
        itemsize, trains = self.numerics.other, self.trains_base
        bias_vector = self.parameter(f"{name}.bias", vocab_size, itemsize, trains=trains) if bias else None
        if self.loss is not None:
            return self.loss(x, weight, bias_vector)
        logits = super().linear(x, weight, bias_vector, vocab_size, "logits")
        return self.unary(logits, "scaled logits") if scaled else logits

    # --- attention and elementwise ---

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
    ) -> Tensor:
        form = Form(heads, kv_heads, dropout, upcast, capped, window, fp32, self.selection)
        return self.attention_kernel(self, query, key, value, form)

    def activation(self, function: str, x: Tensor) -> Tensor:
        composed = COMPOSED.get(function)
        return composed(self, x) if composed else self.unary(x, function, saves="input")

    def add(self, a: Tensor, b: Tensor, name: str = "residual") -> Tensor:
        return super().add(a, b, name)

    def mul(self, a: Tensor, b: Tensor, name: str = "product") -> Tensor:
        return super().mul(a, b, name)

    def cap(self, x: Tensor, name: str = "capped") -> Tensor:
        """A fused loss has capped its logits itself."""
        return super().cap(x, name) if self.loss is None else x

    def times(self, x: Tensor) -> Tensor:
        return self.unary(x, "scaled")

    def dropout(self, x: Tensor, probability: float, name: str = "dropout") -> Tensor:
        return super().dropout(x, probability, name)

    # --- mixtures of experts ---

    def route(
        self,
        name: str,
        x: Tensor,
        num_experts: int,
        top_k: int,
        *,
        normalizes: bool,
        casts: bool = True,
        target: str | None = None,
    ) -> Tensor:
        weight = self._stack(f"{name}.weight", 1, x.width, num_experts, (target,) if target else ())
        logits = Ops.linear(self, x, weight, None, num_experts, name)
        return mixture.route(self, logits, top_k, normalizes=normalizes, casts=casts)

    def experts(
        self,
        name: str,
        x: Tensor,
        scores: Tensor,
        num_experts: int,
        intermediate_size: int,
        activation: str,
        *,
        targets: tuple[str, str, str] | None = None,
    ) -> Tensor:
        fused, down = (targets[:2], targets[2:]) if targets else ((), ())
        width, hidden = intermediate_size, x.width
        weights = mixture.Weights(
            lambda: self._stack(f"{name}.gate_up_proj", num_experts, hidden, 2 * width, fused),
            lambda: self._stack(f"{name}.down_proj", num_experts, width, hidden, down),
            width,
        )
        return mixture.experts(self, x, scores, weights, lambda gate: self.activation(activation, gate))

    def _stack(
        self, name: str, num_experts: int, in_features: int, out_features: int, fused: tuple[str, ...]
    ) -> Tensor:
        """A parameter of all experts, with its adapter folded in where it has one."""
        elements = num_experts * in_features * out_features
        weight = self.parameter(name, elements, self.numerics.other, trains=self.trains_base)
        if not isinstance(self.method, Lora) or not fused or not all(self.method.adapts(target) for target in fused):
            return weight
        layer = Linear(name, in_features, out_features, False, num_experts, fused)
        rank, itemsize = layer.adapter_rank(self.method.rank), self.numerics.adapter
        down = self.parameter(f"{name}.lora_A", in_features * rank, itemsize, trains=True)
        up = self.parameter(f"{name}.lora_B", rank * out_features, itemsize, trains=True)
        return mixture.fold(self, weight, up, down, name)

    def sigmoid(self, x: Tensor) -> Tensor:
        return self.unary(x, "sigmoid", saves="output")

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        return self.cat(parts, "joined columns")

    def slices(self, x: Tensor, widths: Sequence[int], *, split: bool = False) -> list[Tensor]:
        return super().slices(x, widths, split=split)
