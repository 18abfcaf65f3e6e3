"""Interprets the forward-pass vocabulary on symbolic tensors, as transformers and PEFT compose each layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from planner.libraries.sdpa import Selection
from planner.memory.attention import attention as attention_kernels
from planner.memory.attention import eager_variants as own
from planner.memory.attention.fused import Form
from planner.memory.autograd import elementwise
from planner.memory.autograd.ops import FP32
from planner.memory.autograd.tape import Storage, Tape, Tensor, Variable
from planner.memory.layers import dense_experts as every_expert
from planner.memory.layers import experts as mixture
from planner.memory.layers import images
from planner.memory.layers.activations import COMPOSED
from planner.memory.layers.deberta_attention import Disentangled
from planner.memory.layers.gpt_oss_experts import biased_experts
from planner.memory.layers.rotary import Rotary
from planner.memory.layers.routers import ROUTERS, Routing
from planner.memory.linear import float8
from planner.memory.linear.adapters import adapted
from planner.memory.linear.lora import Base, kept_layer, plain_layer, written_out_layer
from planner.memory.linear.quantized import KINDS
from planner.memory.settings.dtypes import HALF, Dtypes
from planner.memory.settings.exchange import Exchange
from planner.memory.settings.trainable import Trainable
from planner.models import Linear
from planner.models.architecture import INT64
from planner.models.forward import ROUTED_IN_FP32, OwnAttention, RouterForm, biased_expert_shapes
from strategies import Attention, Lora, Method, quantization_of


class Layers(Rotary, Disentangled):
    """Interprets a family's forward pass: implements `planner.models.forward.Forward[Tensor]`.

    The protocol documents the arguments of its methods. Shapes in brackets are those of one sample.
    """

    def __init__(
        self,
        tape: Tape,
        *,
        dtypes: Dtypes,
        method: Method,
        trained: Trainable,
        attention: Attention,
        sequence_length: int,
        selection: Selection,
        loss: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
    ) -> None:
        super().__init__(tape, dtypes=dtypes, trained=trained, sequence_length=sequence_length)
        self.method = method
        self.runs_sdpa, self.attention_choice = attention is Attention.SDPA, attention
        self.attention_kernel = attention_kernels.KERNELS[attention]
        self.selection, self.numbers_samples = selection, selection.batching.facts.numbers_samples
        self.loss = loss
        """Computes a fused loss from hidden states, weight and bias of the head; the model's head returns it instead of
        logits. None where the head makes logits."""
        self.held: list[Storage] = []
        """Storages that variables of the model's own forward keep alive until the whole forward pass returns."""
        self.embedded: Storage | None = None
        """Storage of `inputs_embeds` in the forward of transformers' ...Model, which refers to it until that
        returns."""
        self.leaves_body = False
        """Whether one body of the model (a stack of blocks) returns while this part runs and another one begins."""
        self.exchange = Exchange()
        """Tensors that this part shares with later parts, and those that it reads from earlier ones."""
        self.checkpoints = False
        """Whether the model's blocks are checkpointed."""
        self.input_requires_grad = False
        """Whether the output of frozen input embeddings gets a gradient (PEFT's `enable_input_require_grads`)."""
        self.leaf: Tensor | None = None
        """Output of frozen input embeddings that gets a gradient: as a leaf of autograd's graph it lives as long as the
        graph."""

    def unsaved_in_body(self, out: Tensor) -> tuple[int, int]:
        """Returns the (fixed, per-sample) bytes that nothing but variables of the model's body keeps alive.

        Args:
            out: Output of this part, which is not counted.
        """
        variables = (*self.body, *self._rope)
        kept = [storage for storage in variables if not storage.saved and storage is not out.storage]
        return sum(storage.fixed for storage in kept), sum(storage.per_sample for storage in kept)

    def leave_block(self, out: Tensor) -> Tensor:
        """Ends a block's forward and returns the block's output."""
        return out

    def leave_forward(self) -> None:
        """Ends the model's forward: frees what its variables kept alive, and autocast's copies of weights."""
        self.leave_autocast()
        self.held.clear()
        self.embedded = None
        self.body.clear()
        self.exchange.forget_storages()

    # --- linear layers, by fine-tuning method ---

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
    ) -> Tensor:
        """Returns the output of the linear layer `name`, with that of its adapter where the method has one.

        The fine-tuning method decides which layer it is: quantized, in fp8 or plain. A layer that is `kept` in fp32 is
        never quantized.
        """
        method = self.method
        quantized = KINDS.get(quantization_of(method))
        unquantized = kept_layer if kept else written_out_layer if written_out else plain_layer
        if self.dtypes.fp8 and float8.converts(x.width, out_features):
            unquantized = float8.layer
        layer, base = (quantized.layer, quantized.base) if quantized and not kept else (unquantized, Base())
        if kept:
            x = self.to(x, self.dtypes.kept, f"{name} input in the weight's dtype")
        if adapts and isinstance(method, Lora) and method.adapts(name.rpartition(".")[2]):
            return adapted(self, method, name, x, out_features, bias, layer, base)
        return layer(self, name, x, out_features, bias)[0]

    # --- embeddings and head ---

    def embedding(
        self,
        name: str,
        num_embeddings: int,
        width: int,
        *,
        scaled: bool = False,
        again: bool = False,
        tied: bool = False,
    ) -> Tensor:
        """Returns the embedded tokens, `[tokens, width]`; where a frozen one requires a gradient, it is a leaf."""
        trains = self.trains_base if again else self.trained.embedding
        if again and tied and trains:
            self.await_gradient(f"{name}.weight", viewed=self.autocast is None)
        out = self._lookup(name, num_embeddings, width, 0, self.sequence_length * width, trains=trains)
        out = self.times(out) if scaled else out
        self.embedded = out.storage
        if self.input_requires_grad and out.variable is None:
            out.variable, self.leaf = Variable(), out
        return out

    def embeds(self, x: Tensor) -> None:
        """Puts `x` in place of the embedded tokens, in the variable of the model's body that held them."""
        self.embedded = x.storage

    def positions(self, name: str, num_embeddings: int, width: int, *, per_sample: bool = False) -> Tensor:
        """Returns learned position embeddings, `[tokens, width]`.

        All samples share them, unless they are looked up `per_sample` or each sample has positions of its own.
        """
        elements = self.sequence_length * width
        fixed, varying = (0, elements) if per_sample else self.of_positions(elements)
        return self._lookup(name, num_embeddings, width, fixed, varying, trains=self.trains_base)

    def image(
        self, name: str, image_size: tuple[int, int], patch_size: tuple[int, int], channels: int, width: int
    ) -> Tensor:
        """Returns a row for the class token and for each patch of an image, with learned positions added."""
        itemsize, trains = self.dtypes.other, self.trains_base
        sizes = width * channels * prod(patch_size), width, width, self.sequence_length * width
        names = f"{name}.weight", f"{name}.bias", "cls_token", "position_embeddings"
        weight, bias, token, positions = (
            self.parameter(n, size, itemsize, trains=trains) for n, size in zip(names, sizes, strict=True)
        )
        pixels = images.pixels(self, channels * prod(image_size), itemsize)
        self.keep_in_body(pixels)
        x = images.patches(self, pixels, weight, bias, width)
        if self.input_requires_grad and x.variable is None:
            x.variable, self.leaf = Variable(), x
        return images.with_class_token(self, x, token, positions)

    def _lookup(
        self, name: str, num_embeddings: int, width: int, fixed: int, per_sample: int, *, trains: bool
    ) -> Tensor:
        """Returns rows of an embedding table, whose gradient is dense: as large as the table.

        Source: torch, `embedding_dense_backward`.

        Args:
            name: Name of the module.
            num_embeddings: Rows of the table.
            width: Columns of the table.
            fixed: Elements of the result that all samples share.
            per_sample: Elements of the result per sample.
            trains: Whether the table trains.
        """
        itemsize = self.dtypes.trained if trains else self.dtypes.other
        table = self.parameter(f"{name}.weight", num_embeddings * width, itemsize, trains=trains)
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
        self,
        name: str,
        x: Tensor,
        vocab_size: int,
        *,
        tied_to: str | None,
        scaled: bool = False,
        bias: bool = False,
        keeps: bool = True,
    ) -> Tensor:
        """Returns the logits, `[tokens, vocab_size]`, or the fused loss where there is one."""
        self.embedded = None
        trains = self.trained.head
        itemsize = self.dtypes.trained if trains else self.dtypes.other
        weight = self.parameter(f"{tied_to or name}.weight", x.width * vocab_size, itemsize, trains=trains)
        if keeps:  # `outputs.last_hidden_state` in transformers' ...ForCausalLM.forward
            self.keep(x)
        bias_vector = self.parameter(f"{name}.bias", vocab_size, itemsize, trains=trains) if bias else None
        if self.loss is not None:
            return self.loss(x, weight, bias_vector)
        logits = super().linear(x, weight, bias_vector, vocab_size, "logits")
        return self.unary(logits, "scaled logits") if scaled else logits

    def await_gradient(self, name: str, *, viewed: bool) -> None:
        """Registers a parameter that already has a gradient from another part, which counts its bytes.

        Args:
            name: Name of the parameter.
            viewed: Whether that gradient is a view, so that another one cannot be added to it in place.
        """
        waiting = Variable(True, self.tape.steps.get(name))
        waiting.gradient = self.tape.storage(0, 0)
        waiting.gradient.viewed = viewed
        self.parameters[name] = waiting

    def keep(self, x: Tensor) -> None:
        """Keeps `x`, which the model's body returned, alive until the model's forward returns, as `outputs` does."""
        self.embedded = None
        if x.storage is not None:
            self.held.append(x.storage)

    def unused(self, name: str, size: int) -> None:
        """Ignores a parameter that no operation reads: it makes no tensors."""
        pass

    def keep_in_body(self, x: Tensor) -> None:
        """Keeps `x` alive until the model's body (a stack of blocks) returns."""
        if x.storage is self.embedded:
            self.embedded = None
        if x.storage is not None:
            self.body.append(x.storage)

    def leave_body(self) -> None:
        """Records that a stack of blocks has returned and another one follows."""
        self.leaves_body = True

    # --- tensors of several parts ---

    def share(self, name: str, x: Tensor, *, gathers: bool = True, returned: bool = False) -> None:
        """Shares `x` with later parts.

        Where FSDP2 casts the arguments of its units, a tensor in fp32 is cast for each block that is called with it.
        """
        cast = self.dtypes.casts_inputs and x.itemsize == FP32
        self.exchange.share(name, x, gathers=gathers, returned=returned, cast=cast)

    def make_mask(self, x: Tensor) -> None:
        """Makes and shares the causal mask of a second stack of blocks, which eager attention alone adds."""
        if self.attention_kernel is attention_kernels.eager:
            size = self.sequence_length**2
            mask = Tensor(self.tape.storage(0, size * x.itemsize, "mask"), 0, size, size, x.itemsize, None)
            self.keep_in_body(mask)
            self.share("mask", mask)

    def shared(self, name: str, width: int, *, last: bool) -> Tensor:
        """Returns a tensor that an earlier part shares, or the copy that FSDP2 casts for this block."""
        x = self.exchange.read(self.tape, name, last=last)
        if not self.exchange.known[name].cast:
            return x
        cast = self.to(x, self.dtypes.other, f"{name} cast by FSDP2")
        if cast.storage is not None:
            self.arguments.append(cast.storage)
        return cast

    def relative_bias(self, name: str, num_buckets: int, heads: int) -> Tensor:
        """Returns a bias for each head and pair of positions, shared by all samples: `embedding(buckets)`.

        The buckets of all pairs are int64 and are saved for the gradient of the table.
        """
        itemsize, pairs = self.dtypes.other, self.sequence_length**2
        table = self.parameter(f"{name}.weight", num_buckets * heads, itemsize, trains=self.trains_base)
        buckets = self.fixed(pairs, INT64, "relative position buckets")
        bias = self.fixed(pairs * heads, itemsize, "position bias", table, saved=[buckets])
        self.keep_in_body(bias)
        return bias

    def zero_bias(self, x: Tensor, heads: int) -> Tensor:
        """Returns a position bias of zeros for all samples; it requires a gradient if blocks are checkpointed."""
        bias = self.fixed(self.sequence_length**2 * heads, x.itemsize, "position bias of zeros")
        bias.heads_first, bias.variable = True, Variable() if self.checkpoints else None
        self.keep_in_body(bias)
        return bias

    def clamp_fp16(self, x: Tensor) -> Tensor:
        """Returns `x` clamped where it is in fp16, otherwise `x` itself."""
        return self.clamp(x) if self.dtypes.half_is_fp16 and x.itemsize == HALF else x

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
        causal: bool = True,
        downcast: bool = True,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Returns self-attention by the kernel of the chosen implementation, as wide as all heads' values."""
        form = Form(heads, kv_heads, dropout, upcast, capped, window, fp32, causal, downcast, bias, self.selection)
        return self.attention_kernel(self, query, key, value, form)

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
        sinks = self.parameter(name, heads, self.dtypes.other, trains=self.trains_base) if name else None
        asked = own.Form(heads, kv_heads, dropout, sinks)
        if self.runs_sdpa:
            per_head = form == "alibi_in_fp32"
            return attention_kernels.with_mask(self, query, key, value, asked.usual(self.selection), per_head=per_head)
        return own.FORMS[form](self, query, key, value, asked)

    def activation(self, function: str, x: Tensor) -> Tensor:
        """Returns the activation of `x`; a function that is not in `COMPOSED` is one kernel that saves its input."""
        composed = COMPOSED.get(function)
        return composed(self, x) if composed else self.unary(x, function, saves="input")

    def add(self, a: Tensor, b: Tensor, name: str = "residual") -> Tensor:
        """Returns `a + b`, which saves nothing."""
        return super().add(a, b, name)

    def add_(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns `a += b`, in the storage of `a`."""
        return elementwise.add_(self, a, b)

    def repeat(self, x: Tensor, columns: int) -> Tensor:
        """Returns a contiguous copy of heads, each repeated as often as it takes to fill `columns` columns."""
        out = self.broadcast(x, self.sequence_length * columns, "repeated heads")
        out.width = columns
        return out

    def clamp(self, x: Tensor) -> Tensor:
        """Returns `x` limited to an interval; `x` is saved for backward."""
        return elementwise.clamp(self, x, "clamped")

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
        form: RouterForm = "softmax",
        limited: bool = False,
    ) -> Tensor:
        """Returns each token's scores of experts, by the `form` of router (`planner.memory.layers.routers`).

        The router's weight stays in fp32 where the form computes its logits in fp32.
        """
        itemsize = self.dtypes.kept_in_fp32 if form in ROUTED_IN_FP32 else None
        weight = self._stack(f"{name}.weight", 1, x.width, num_experts, (target,) if target else (), itemsize)()
        routing = Routing(num_experts, top_k, normalizes, casts, limited)
        return ROUTERS[form](self, x, weight, name, routing)

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
        """Returns the weighted sum of the outputs of each token's experts, computed by a grouped product."""
        fused, down = (targets[:2], targets[2:]) if targets else ((), ())
        width, hidden = intermediate_size, x.width
        # Down comes first, since its wrapper is the outer one of PEFT's.
        of_down = self._stack(f"{name}.down_proj", num_experts, width, hidden, down)
        of_gate_up = self._stack(f"{name}.gate_up_proj", num_experts, hidden, 2 * width, fused)
        weights = mixture.Weights(of_gate_up, of_down, width)
        return mixture.experts(self, x, scores, weights, lambda gate: self.activation(activation, gate))

    def spread(self, x: Tensor, scores: Tensor) -> Tensor:
        """Returns a copy of every token for each expert, times that expert's score: `[experts, tokens, hidden]`."""
        return every_expert.spread(self, x, scores)

    def every_expert(self, name: str, x: Tensor, num_experts: int, intermediate_size: int, activation: str) -> Tensor:
        """Returns the outputs of gated experts that each compute all tokens: `[experts, tokens, hidden]`."""
        hidden, width = x.width, intermediate_size
        gate_up = self._stack(f"{name}.gate_up_proj", num_experts, hidden, 2 * width, ())()
        down = self._stack(f"{name}.down_proj", num_experts, width, hidden, ())()
        return every_expert.experts(self, x, gate_up, down, width, lambda gate: self.activation(activation, gate))

    def add_experts(self, x: Tensor, out: Tensor, num_experts: int) -> Tensor:
        """Returns the sum of all experts' outputs added to `x`, in the storage of `x`."""
        return every_expert.add_up(self, x, out, num_experts)

    def _stack(
        self,
        name: str,
        num_experts: int,
        in_features: int,
        out_features: int,
        fused: tuple[str, ...],
        kept: int | None = None,
    ) -> Callable[[], Tensor]:
        """Returns a function that makes one weight of all experts, with its adapter folded in where it has one.

        The adapter's factors exist from this call on, as long as the returned function does.

        Args:
            name: Name of the parameter.
            num_experts: Number of experts, 1 for a router.
            in_features: Input features of one expert.
            out_features: Output features of one expert.
            fused: Names of the layers that PEFT takes the parameter for; LoRA adapts it if all of them are targets.
            kept: Bytes per element of a parameter that keeps a dtype of its own; None for the dtype of other weights.
        """
        elements = num_experts * in_features * out_features
        weight = self.parameter(name, elements, kept or self.dtypes.other, trains=self.trains_base)
        if not isinstance(self.method, Lora) or not fused or not all(self.method.adapts(target) for target in fused):
            return lambda: weight
        layer = Linear(name, in_features, out_features, False, num_experts, fused)
        rank, itemsize = layer.adapter_rank(self.method.rank), self.dtypes.adapter
        down = self.parameter(f"{name}.lora_A", in_features * rank, itemsize, trains=True)
        up = self.parameter(f"{name}.lora_B", rank * out_features, itemsize, trains=True)
        factors = mixture.factors(self, up, down, weight.itemsize, name)
        return lambda: mixture.fold(self, weight, factors, name)

    def biased_experts(
        self, router: str, name: str, x: Tensor, num_experts: int, top_k: int, intermediate_size: int
    ) -> Tensor:
        """Returns the output of gpt-oss's router and experts, whose weights no LoRA and no quantization reaches."""
        shapes = biased_expert_shapes(router, name, x.width, num_experts, intermediate_size)
        itemsize = self.dtypes.other
        weights = [self.parameter(n, prod(shape), itemsize, trains=self.trains_base) for n, shape in shapes.items()]
        return biased_experts(self, x, weights, num_experts, top_k, intermediate_size)

    def sigmoid(self, x: Tensor) -> Tensor:
        """Returns the sigmoid of `x`, which saves its output."""
        return self.unary(x, "sigmoid", saves="output")

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

    def slices(self, x: Tensor, widths: Sequence[int], *, split: bool = False) -> list[Tensor]:
        """Returns views of consecutive columns; with `split`, one concatenation makes the gradient of all parts."""
        return super().slices(x, widths, split=split)
