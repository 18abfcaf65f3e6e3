"""`explain` lists what backward needs: names, shapes and bytes that add up to what the memory model counts as saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from planner import ContradictionError, Explanation, explain
from planner.cli import main
from planner.models import registry_models
from planner.records.plan import Memory

SETUPS: tuple[dict[str, Any], ...] = (
    {},
    {"finetuning": "lora", "precision": "bf16-mixed"},
    {"checkpointing": "full"},
    {"checkpointing": "selective-matmuls"},
    {"attention": "eager"},
)
FAMILIES = {model.model_type: model.name for model in registry_models()}


@pytest.mark.parametrize("setup", SETUPS, ids=str)
def test_the_tensors_of_a_part_add_up_to_what_it_saves(setup: dict[str, Any]) -> None:
    for name in FAMILIES.values():
        # PEFT copies DistilBERT's pre_classifier with its head, and cannot if it is adapted.
        targets = (
            {"lora_targets": "q_lin,v_lin,lin1"} if name.startswith("distilbert") and "finetuning" in setup else {}
        )
        for part in explain(name, gpu="H100", **setup, **targets).parts:
            assert all(tensor.name for tensor in part.tensors)
            listed = sum(t.fixed_bytes for t in part.tensors), sum(t.bytes_per_sample for t in part.tensors)
            counted = part.fixed_bytes, part.bytes_per_sample
            shares = part.part == "stem" or (name.startswith(("t5", "flan")) and part.part == "block")
            assert listed <= counted if shares else listed == counted


def test_a_shape_has_the_bytes_of_its_tensor() -> None:
    for part in explain("llama-3.1-8b", gpu="H100", finetuning="lora").parts:
        for tensor in part.tensors:
            if tensor.shape is not None and tensor.itemsize is not None:
                rows, columns = tensor.shape
                assert rows * columns * tensor.itemsize == (tensor.bytes_per_sample or tensor.fixed_bytes)


def test_a_block_saves_what_autograd_saves_of_the_real_one(tmp_path: Path) -> None:
    """Names are ours; the bytes of distinct storages are those that torch's own hooks see, weights left out."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=64, intermediate_size=128, num_attention_heads=4, num_key_value_heads=2, attn_implementation="eager"
    )
    block, x = LlamaDecoderLayer(config, 0).bfloat16(), torch.zeros(1, 32, 64, dtype=torch.bfloat16, requires_grad=True)
    weights = {p.untyped_storage().data_ptr() for p in block.parameters()}
    tables = LlamaRotaryEmbedding(config)(x, torch.arange(32)[None])
    ours = {t.untyped_storage().data_ptr() for t in tables}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights | ours:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden = x * 1
        out = block(hidden, position_embeddings=tables)
        out = out[0] if isinstance(out, tuple) else out
    fields = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 300,
        "max_position_embeddings": 128,
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps(fields))
    answer = explain(str(file), gpu="H100", sequence_length=32, precision="bf16-true", attention="eager")
    (part,) = [part for part in answer.parts if part.part == "block"]
    assert part.bytes_per_sample == sum(saved.values())
    assert out is not None


@pytest.mark.parametrize(
    ("asked", "on_host"),
    [
        ({"model": "llama-2-7b", "gpu": "A100-40GB", "finetuning": "lora", "checkpointing": "full"}, False),
        ({"model": "gpt2", "gpu": "T4", "allocator": "native"}, False),
        ({"model": "gpt2", "gpu": "H100", "checkpointing": "offload", "host_memory": "3GB"}, True),
    ],
    ids=str,
)
def test_where_the_micro_batch_stops_one_more_sample_takes_more_than_is_left(
    asked: dict[str, Any], on_host: bool
) -> None:
    more = explain(**asked).one_more
    assert more is not None
    assert more.largest > 0

    def memory(size: int) -> Memory:
        return explain(**asked, micro_batch_size=size).plan.memory

    last, beyond = memory(more.largest), memory(more.largest + 1)
    assert (last.fits, beyond.fits, more.moment, more.on_host) == (True, False, beyond.moment, on_host)
    if on_host:
        assert last.host is not None
        assert beyond.host is not None
        assert last.host.budget_bytes is not None
        taken = beyond.host.node_bytes - last.host.node_bytes, last.host.budget_bytes - last.host.node_bytes
    else:
        taken = beyond.process_bytes - last.process_bytes, last.budget_bytes - last.process_bytes
    assert (more.added_bytes, more.free_bytes) == taken
    assert more.added_bytes > more.free_bytes


def test_the_command_says_why_the_micro_batch_stops() -> None:
    asked = "explain llama-2-7b --gpu A100-40GB --finetuning lora --checkpointing full --micro-batch-size"

    def told(size: int) -> str:
        return " ".join(CliRunner().invoke(main, [*asked.split(), str(size)]).stdout.split())

    why = "one more sample takes 1.35 GiB more at start of backward, and 0.20 GiB are left"
    assert f"the micro-batch stops at 19: {why}" in told(19)
    assert f"the largest micro-batch is 19: {why}" in told(4)
    none = CliRunner().invoke(main, ["explain", "llama-2-70b", "--gpu", "T4"]).stdout
    assert "not one sample fits: it takes 1,089.26 GiB at block backward, and 14.56 GiB" in none


def test_the_answer_round_trips_and_the_command_prints_it() -> None:
    answer = explain("gpt2", gpu="T4", micro_batch_size=3)
    assert Explanation.model_validate_json(answer.model_dump_json()) == answer
    done = CliRunner().invoke(main, ["explain", "gpt2", "--gpu", "T4", "--micro-batch-size", "3", "--json"])
    assert json.loads(done.stdout) == json.loads(answer.model_dump_json())
    asked = ["explain", "gpt2", "--gpu", "T4", "--micro-batch-size", "3"]
    assert "12 blocks: 0-11" in CliRunner().invoke(main, [*asked, "--saved"]).stdout
    assert "outputs kept-in-step" in CliRunner().invoke(main, asked).stdout
    assert repr(answer).startswith("<Explanation: gpt2 saves ")


def test_a_model_of_which_only_replays_know_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path))
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "profiles")
    with pytest.raises(ContradictionError, match="is known by replays alone"):
        explain("own_models:two_kinds", gpu="T4", precision="fp32", sequence_length=16)
