"""Each layer, as transformers and PEFT compose it, has the account that layers.json says; a change of one is meant.

    python tests/planner/memory/operations/test_layers_as_composed.py   # writes layers.json

Replays confirm layers within whole models (`test_recorded_replays`, `test_all_choices`), where the largest ones hide
what the others do; here each is alone, with all of its instants.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from accounts_of import TOKENS, observed

from planner.libraries.sdpa import Selection
from planner.memory.autograd.ops import HALF
from planner.memory.autograd.tape import Tape, Tensor, Variable
from planner.memory.layers.compiled import CompiledLayers
from planner.memory.layers.layers import Layers
from planner.memory.layers.liger import LigerLayers
from planner.memory.losses.fused import Chunk, chunked, liger
from planner.memory.losses.loss import LOSSES
from planner.memory.settings.dtypes import Dtypes
from planner.memory.settings.trainable import Trainable
from strategies import (
    AdapterDtype,
    Attention,
    Batching,
    BitFit,
    Freeze,
    Fsdp2,
    Full,
    Lora,
    LoraVariant,
    Loss,
    Method,
    Precision,
    Quantization,
    Replicated,
)

FILE = Path(__file__).with_name("layers.json")
WIDTH, WORDS = 64, 40
Case = Callable[[Any], Tensor]
MIXED, TRUE, PLAIN = Precision.BF16_MIXED, Precision.BF16_TRUE, Precision.FP32


def layers(
    kind: type[Layers] = Layers,
    precision: Precision = MIXED,
    method: Method | None = None,
    *,
    shards: bool = False,
    attention: Attention = Attention.SDPA,
    batching: Batching = Batching.FULL,
    loss: Any = None,
    recomputed: bool = False,
    checkpoints: bool = False,
) -> Layers:
    method = method or Full()
    f = kind(
        Tape(recomputed=recomputed),
        dtypes=Dtypes.of(precision, method, Fsdp2() if shards else Replicated()),
        method=method,
        trained=Trainable(
            isinstance(method, Full), isinstance(method, BitFit), isinstance(method, Full), isinstance(method, Full)
        ),
        attention=attention,
        sequence_length=TOKENS,
        selection=Selection(batching=batching),
    )
    f.checkpoints, f.loss = checkpoints, None if loss is None else partial(loss[0], f, loss[1])
    f.rope_itemsize = f.mask_itemsize = f.dtypes.other
    return f


def x(f: Layers, width: int = WIDTH, itemsize: int | None = None, grad: bool = True, name: str = "x") -> Tensor:
    return f.input(width, f.dtypes.other if itemsize is None else itemsize, grad, name)


def z(f: Layers, width: int = WIDTH) -> Tensor:
    return x(f, width, name="z")


def activated(f: Layers, function: str) -> Tensor:
    return f.mul(f.activation(function, x(f)), z(f))


def rotated(f: Layers, **how: Any) -> Tensor:
    f.rope_table(x(f, grad=False), 16)
    return f.rotate(x(f), head_dim=16, **how)


def rotated_halves(f: Layers) -> Tensor:
    f.rope_table(x(f, grad=False), 16, fp32=True)
    return f.rotate_halves(x(f), head_dim=16)


def attended(f: Layers, **how: Any) -> Tensor:
    return f.attention(x(f), z(f, 32), x(f, 32, name="v"), heads=4, kv_heads=2, **how)


def routed(f: Layers, form: str, **how: Any) -> Tensor:
    return f.route("gate", x(f), 8, 2, normalizes=how.pop("normalizes", True), form=form, **how)  # type: ignore[arg-type]


def mixed(f: Layers, form: str = "softmax", targets: tuple[str, str, str] | None = None) -> Tensor:
    hidden = x(f)
    scores = f.route("gate", hidden, 8, 2, normalizes=True, form=form)  # type: ignore[arg-type]
    return f.experts("experts", hidden, scores, 8, 48, "silu", layers=targets)


def spread_over_all(f: Layers) -> Tensor:
    hidden = x(f)
    scores = f.route("gate", hidden, 4, 1, normalizes=False, form="sigmoid_of_chosen")
    outputs = f.every_expert("experts", f.spread(hidden, scores), 4, 48, "silu")
    return f.add_experts(f.unary(hidden, "shared"), outputs, 4)


def disentangled(f: Layers) -> Tensor:
    mask = f.padding_mask()
    pairs, hidden = f.pair_mask(mask), f.hide_padding(x(f), mask)
    table = f.once(lambda t: f.unary(t, "positions"), f.table("rel_embeddings", 16, WIDTH))
    positions = f.repeat_positions(table)
    query, key, value = (f.by_heads(f.unary(hidden, name), 4) for name in ("q", "k", "v"))
    scores = f.add(f.content_scores(query, key, 4), f.position_scores(query, key, positions, positions, 4))
    f.distances()
    probabilities = f.pair_probabilities(f.fill_masked(scores, f.as_bool(pairs)))
    return f.weighted(probabilities, value, 4)


def head(f: Layers, **how: Any) -> Tensor:
    return f.lm_head("lm_head", x(f), WORDS, **{"tied_to": None, **how})


def cross_entropy(loss: Loss, objective: Any, f: Layers) -> Tensor:
    logits = f.tensor(TOKENS * WORDS, WORDS, f.dtypes.other if f.autocast is None else HALF, "logits")
    logits.variable = Variable()
    return LOSSES[loss](f, logits, objective)


def biased(f: Layers) -> Tensor:
    return f.attention(x(f), z(f), x(f, name="v"), heads=4, kv_heads=4, bias=f.relative_bias("bias", 32, 4))


NORMS: dict[str, Case] = {
    **{f"rms_norm {order}": lambda f, o=order: f.rms_norm("norm", x(f), order=o) for order in (
        "cast_then_scale", "scale_then_cast", "scale_in_fp32", "unscaled", "t5")},
    "rms_norm of each head": lambda f: f.rms_norm("norm", x(f), width=16),
    **{f"layer_norm {form}": lambda f, o=form: f.layer_norm("norm", x(f), form=o, bias=o != "written_out") for form in (
        "fused", "fused_in_fp32", "one_plus_weight", "written_out")},
    "layer_norm without bias": lambda f: f.layer_norm("norm", x(f), bias=False),
    "layer_norm without weight": lambda f: f.layer_norm("norm", x(f), affine=False),
    "layer_norm of each head": lambda f: f.layer_norm("norm", x(f), width=16, form="written_out", bias=False),
}  # fmt: skip
ELEMENTWISE: dict[str, Case] = {
    **{f"activation {name}": lambda f, n=name: activated(f, n) for name in (
        "silu", "gelu", "tanh", "relu", "relu2", "gelu_new", "gelu_fast", "bloom_gelu")},
    **{f"rotate {name}": lambda f, h=how: rotated(f, **h) for name, how in {
        "all": {}, "a part": {"rotary_dim": 8}, "joined": {"joins": True}, "cast back": {"casts": "result"},
        "cast in fp32": {"casts": "both"}, "tokens first": {"rotary_dim": 8, "tokens_first": True},
        "interleaved": {"form": "interleaved"}, "complex": {"form": "complex"}}.items()},
    "rotate halves": rotated_halves,
    "clamp": lambda f: f.clamp(x(f)),
    "clamp in fp16": lambda f: f.clamp_fp16(x(f, itemsize=HALF)),
    "cap": lambda f: f.cap(x(f)),
    "times": lambda f: f.times(x(f)),
    "times positions": lambda f: f.times_positions(x(f)),
    "dropout": lambda f: f.dropout(x(f), 0.1),
    "sigmoid": lambda f: f.sigmoid(x(f)),
    "repeat": lambda f: f.repeat(x(f), 3 * WIDTH),
    "join": lambda f: f.join([x(f), z(f, 32)], heads_first=True),
    "fill": lambda f: f.fill(x(f), z(f, 16), heads=4),
    "add in place": lambda f: f.add_(f.add(x(f), z(f)), x(f, name="y")),
    "slices": lambda f: f.add(*f.slices(x(f), [32, 32])),
    "split": lambda f: f.add(*f.slices(x(f), [32, 32], split=True)),
    "attention": attended,
    "attention, capped and in fp32": lambda f: attended(f, capped=True, fp32=True, dropout=0.1),
    "attention within a window": lambda f: attended(f, window=4),
    "attention with a position bias": biased,
    "attention of falcon": lambda f: f.own_attention("alibi_in_fp32", x(f), z(f), x(f, name="v"), heads=4, kv_heads=4),
    "attention with sinks": lambda f: f.own_attention(
        "sinks", x(f), z(f), x(f, name="v"), heads=4, kv_heads=4, name="sinks"),
    "disentangled attention": disentangled,
}  # fmt: skip
LINEAR: dict[str, Case] = {
    "linear": lambda f: f.linear("q_proj", x(f), 48),
    "linear with bias": lambda f: f.linear("q_proj", x(f), 48, bias=True),
    "linear that is kept in fp32": lambda f: f.linear("q_proj", x(f), 48, kept=True),
    "linear written out": lambda f: f.linear("q_proj", x(f), 48, bias=True, written_out=True),
    "linear without adapter": lambda f: f.linear("q_proj", x(f), 48, adapts=False),
    "linear of a frozen input": lambda f: f.linear("q_proj", x(f, grad=False), 48),
    "linear of odd widths": lambda f: f.linear("q_proj", x(f), 40),
}
ENDS: dict[str, Case] = {
    "embedding": lambda f: f.embedding("embed", WORDS, WIDTH),
    "embedding scaled": lambda f: f.embedding("embed", WORDS, WIDTH, scaled=True),
    "embedding again": lambda f: f.embedding("embed", WORDS, WIDTH, again=True, tied=True),
    "positions": lambda f: f.positions("positions", WORDS, WIDTH),
    "positions of each sample": lambda f: f.positions("positions", WORDS, WIDTH, per_sample=True),
    "image": lambda f: f.image("patches", (16, 16), (4, 4), 3, WIDTH),
    "head": head,
    "head, tied and scaled": lambda f: head(f, tied_to="embed", scaled=True, bias=True),
    "head that is not kept": lambda f: head(f, keeps=False),
    "position bias": lambda f: f.relative_bias("bias", 32, 4),
    "first token": lambda f: f.first_token(x(f)),
}
EXPERTS: dict[str, Case] = {
    **{f"router {form}": lambda f, o=form: routed(f, o) for form in (
        "softmax", "softmax_of_chosen", "softmax_in_fp32", "sigmoid_in_fp32", "sigmoid_of_chosen")},
    "router that is not normalized": lambda f: routed(f, "softmax", normalizes=False, casts=False),
    "router of groups": lambda f: routed(f, "sigmoid_in_fp32", limited=True),
    "router of groups by softmax": lambda f: routed(f, "softmax_in_fp32", limited=True, normalizes=False),
    "experts": mixed,
    "experts that are adapted": lambda f: mixed(f, targets=("gate_proj", "up_proj", "down_proj")),
    "experts of all tokens": spread_over_all,
    "experts with biases": lambda f: f.biased_experts("router", "experts", x(f), 8, 2, 48),
}  # fmt: skip
LOSS_CASES: dict[str, Case] = {
    **{f"{loss} of {objective}": partial(cross_entropy, loss, objective) for loss, objective in (
        (Loss.FULL, "next_token"), (Loss.FULL, "each_token"), (Loss.FULL, "each_sample"),
        (Loss.LIGER_CROSS_ENTROPY, "next_token"), (Loss.FLASH_CROSS_ENTROPY, "next_token"),
        (Loss.COMPILED, "next_token"), (Loss.TRANSFORMERS_4_48, "next_token"))},
}  # fmt: skip


def lora(**how: Any) -> Lora:
    return Lora(**{"rank": 4, **how})


SETTINGS: list[tuple[str, dict[str, Any], dict[str, Case]]] = [
    *(
        (str(p), {"precision": p}, NORMS | ELEMENTWISE | LINEAR | ENDS | EXPERTS | LOSS_CASES)
        for p in (MIXED, TRUE, PLAIN)
    ),
    ("fp16-mixed", {"precision": Precision.FP16_MIXED}, LINEAR | {"clamp in fp16": ELEMENTWISE["clamp in fp16"]}),
    ("fp8-mixed", {"precision": Precision.FP8_MIXED}, LINEAR),
    ("sharded", {"shards": True}, NORMS | ELEMENTWISE | EXPERTS),
    ("sharded and recomputed", {"shards": True, "recomputed": True}, ELEMENTWISE),
    ("recomputed", {"recomputed": True}, NORMS | ELEMENTWISE),
    ("eager attention", {"attention": Attention.EAGER}, ELEMENTWISE),
    ("flash attention", {"attention": Attention.FLASH_2}, {"attention": attended}),
    ("packed", {"batching": Batching.PACKED}, ELEMENTWISE | ENDS),
    ("lora", {"method": lora()}, LINEAR | NORMS | ENDS | EXPERTS),
    ("lora in bf16-true", {"method": lora(), "precision": TRUE}, LINEAR | EXPERTS),
    ("lora in the weights' dtype", {"method": lora(adapter_dtype=AdapterDtype.WEIGHTS), "precision": TRUE}, LINEAR),
    ("lora with dropout", {"method": lora(dropout=0.1)}, LINEAR),
    ("dora", {"method": lora(variant=LoraVariant.DORA)}, LINEAR),
    ("dora with dropout", {"method": lora(variant=LoraVariant.DORA, dropout=0.1), "precision": TRUE}, LINEAR),
    *((f"lora over {q}", {"method": lora(quantization=q)}, LINEAR) for q in list(Quantization)[1:]),
    *(
        (f"lora over {q} in bf16-true", {"method": lora(quantization=q), "precision": TRUE}, LINEAR)
        for q in list(Quantization)[1:]
    ),
    ("dora over nf4", {"method": lora(quantization=Quantization.NF4, variant=LoraVariant.DORA)}, LINEAR),
    ("bitfit", {"method": BitFit()}, LINEAR | NORMS),
    ("freeze", {"method": Freeze()}, LINEAR | ENDS),
    ("liger", {"kind": LigerLayers}, NORMS | ELEMENTWISE),
    ("liger in fp32", {"kind": LigerLayers, "precision": PLAIN}, NORMS | ELEMENTWISE),
    *(
        (
            f"{name}, {tokens} tokens at once, {precision}",
            {"loss": (loss, Chunk(tokens, adds)), "precision": precision},
            heads,
        )
        for heads in ({"head": head, "head, tied and scaled": ENDS["head, tied and scaled"]},)
        for name, loss in (("liger-fused-linear", liger), ("chunked", chunked))
        for tokens, adds in ((None, True), (5, False), (5, True))
        for precision in (MIXED, TRUE, PLAIN)
    ),
]


def blocks(kind: type[Layers], **given: Any) -> dict[str, list[int]]:
    """Of compiled blocks, whose layers are only fused with what is around them."""

    def block(f: Any) -> Tensor:
        hidden = x(f)
        normed = f.rms_norm("norm", hidden)
        query, key, value = (f.linear(name, normed, WIDTH, bias=name == "q") for name in ("q", "k", "v"))
        turned = [f.rotate(t, head_dim=16) for t in (query, key)]
        out = f.add(hidden, f.linear("o", f.attention(*turned, value, heads=4, kv_heads=4), WIDTH))
        normed = f.layer_norm("other_norm", out)
        gate = f.activation("silu", f.linear("gate", normed, 96))
        up, _rest = f.slices(f.linear("up", normed, 192), [96, 96])
        return f.leave_block(f.add(out, f.linear("down", f.mul(gate, up), WIDTH)))

    return {"block": course(layers(kind, **given), block)}


def course(f: Layers, case: Case) -> list[int]:
    """Bytes saved, at most in forward and in backward, moved; FLOPs; and the bytes of all instants together."""
    account, instants = observed(f, case)
    return [sum(account.saved.values()), *account[1:], instants]


@cache
def courses() -> dict[str, dict[str, list[int]]]:
    found = {
        name: {case: course(layers(**given), run) for case, run in cases.items()} for name, given, cases in SETTINGS
    }
    compiled = {str(p): blocks(CompiledLayers, precision=p)["block"] for p in (MIXED, TRUE, PLAIN)}
    compiled |= {f"{p} by lora": blocks(CompiledLayers, precision=p, method=lora())["block"] for p in (MIXED, TRUE)}
    compiled |= {"recomputed": blocks(CompiledLayers, recomputed=True)["block"]}
    compiled |= {"sharded": blocks(CompiledLayers, shards=True)["block"]}
    return found | {"compiled blocks": compiled}


KNOWN: dict[str, dict[str, list[int]]] = json.loads(FILE.read_text()) if FILE.exists() else {}


@pytest.mark.parametrize("setting", KNOWN)
def test_layers_have_the_accounts_that_they_had(setting: str) -> None:
    assert courses()[setting] == KNOWN[setting]


if __name__ == "__main__":
    lines = ",\n".join(
        f" {json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(case)}: {json.dumps(numbers)}" for case, numbers in cases.items())
        + "\n }"
        for name, cases in courses().items()
    )
    FILE.write_text(f"{{\n{lines}\n}}\n")
