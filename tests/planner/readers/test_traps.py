"""Keys of the frameworks that people have in their files, and that do not mean what they seem to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from planner.readers.documents.reading import Reading
from planner.readers.documents.source import read_source
from planner.readers.registry import READERS
from planner.readers.run import Run
from planner.readers.settle import settle
from strategies import Batching, GradientSync, Kernels, Loss, Optimizer

AXOLOTL = "base_model: meta-llama/Llama-3.2-1B\nbf16: true\nmicro_batch_size: 4\n"


def read(text: str, tmp_path: Path, name: str = "run.yaml", **overrides: Any) -> Reading:
    file = tmp_path / name
    file.write_text(text)
    run = Run([read_source(str(file))], READERS, overrides)
    settle(run.reading)
    return run.reading


def refusals(reading: Reading) -> list[str]:
    return [refused.what for refused in reading.refused]


@pytest.mark.parametrize(
    ("more", "apart"),
    [
        ("attn_implementation: flash_attention_2", False),
        ("flash_attention: true", False),
        ("attn_implementation: sdpa", True),
        ("", True),
        ("flash_attention: true\nmultipack_real_batches: true", True),
    ],
)
def test_axolotl_joins_packed_rows_where_attention_takes_their_lengths(more: str, apart: bool, tmp_path: Path) -> None:
    reading = read(f"{AXOLOTL}sample_packing: true\n{more}\n", tmp_path)
    assert (reading.value("batching"), reading.rows_stay_apart) == (Batching.PACKED, apart)


def test_axolotls_arguments_of_an_optimizer_may_be_a_mapping(tmp_path: Path) -> None:
    reading = read(f"{AXOLOTL}optimizer: sgd\noptim_args: {{momentum: 0.9}}\n", tmp_path)
    assert (reading.value("optimizer"), reading.refused) == (Optimizer.SGD_MOMENTUM, [])


def test_axolotls_batch_size_is_of_a_step_of_one_gpu(tmp_path: Path) -> None:
    assert read(f"{AXOLOTL}batch_size: 32\n", tmp_path).value("gradient_accumulation_steps") == 8
    both = read(f"{AXOLOTL}batch_size: 32\ngradient_accumulation_steps: 2\n", tmp_path)
    assert both.value("gradient_accumulation_steps") == 2


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ("load_in_8bit: true", "a quantized base without an adapter, which axolotl refuses"),
        ("plugins: [axolotl.integrations.diffusion.DiffusionPlugin]", "axolotl's DiffusionPlugin"),
        ("use_scattermoe: true", "experts in a kernel of axolotl's own"),
        ("gradient_checkpointing: true\nselective_checkpointing: true", "axolotl's selective checkpointing"),
        (
            "gradient_checkpointing: true\nselective_checkpointing: {save: [attention]}",
            "axolotl's selective checkpointing",
        ),
        (
            "adapter: qlora\nload_in_4bit: true\nlora_r: 8\nlora_target_linear: true\n"
            "bnb_config_kwargs: {bnb_4bit_quant_type: fp4}",
            "a base quantized in another way",
        ),
        ("optimizer: adamw_torch\noptim_args: {amsgrad: true}", "arguments of the optimizer"),
    ],
)
def test_what_axolotl_does_otherwise_is_refused_by_name(more: str, what: str, tmp_path: Path) -> None:
    assert what in refusals(read(f"{AXOLOTL}{more}\n", tmp_path))


@pytest.mark.parametrize(
    ("kwargs", "refused"),
    [
        ("model_quantization_config_kwargs: {dequantize: true}", []),
        ("model_quantization_config_kwargs: {dequantize: false}", ["Mxfp4Config"]),
        ("", ["Mxfp4Config"]),
    ],
)
def test_weights_in_mxfp4_that_are_undone_as_they_are_loaded_are_plain_ones(
    kwargs: str, refused: list[str], tmp_path: Path
) -> None:
    reading = read(f"{AXOLOTL}model_quantization_config: Mxfp4Config\n{kwargs}\n", tmp_path)
    assert [what.rpartition(" ")[2] for what in refusals(reading)] == refused
    assert reading.unknown == []


@pytest.mark.parametrize(
    "text",
    [
        f"{AXOLOTL}fsdp_version: 2\nfsdp_config: {{reshard_after_forward: true}}\n",
        "model_name_or_path: m/m\nmax_length: 512\nfsdp: full_shard\n",
        "model_name_or_path: m/m\nstage: sft\ncutoff_len: 512\nfsdp: full_shard\n",
    ],
    ids=["axolotl", "trl", "llama-factory"],
)
def test_fsdp_reduces_gradients_when_accelerators_keys_say(text: str, tmp_path: Path) -> None:
    synced = "accelerator_config: {split_batches: true, gradient_accumulation_kwargs: {sync_each_batch: true}}\n"
    reading = read(text + synced, tmp_path)
    assert reading.value("gradient_sync") is GradientSync.EACH
    assert reading.unknown == []
    assert read(text, tmp_path).value("gradient_sync") is None


def test_axolotls_old_name_of_ligers_swiglu_is_read(tmp_path: Path) -> None:
    plugin = "plugins: [axolotl.integrations.liger.LigerPlugin]"
    kernels = "liger_rope: true\nliger_rms_norm: true\nliger_swiglu: true\nliger_layer_norm: true"
    reading = read(f"{AXOLOTL}{plugin}\n{kernels}\n", tmp_path)
    assert (reading.value("kernels"), refusals(reading)) == (Kernels.LIGER, [])
    assert [left.place.key for left in reading.left_out if left.place] == ["liger_layer_norm"]


@pytest.mark.parametrize(("value", "left_out"), [("true", ["flash_attn_cross_entropy"]), ("false", [])])
def test_axolotls_flash_attn_loss_behind_the_cast_of_logits_is_told_as_left_out(
    value: str, left_out: list[str], tmp_path: Path
) -> None:
    """It stands behind transformers' cast to fp32, so that it is not the loss that leaves the cast out."""
    reading = read(f"{AXOLOTL}flash_attn_cross_entropy: {value}\n", tmp_path)
    assert [left.place.key for left in reading.left_out if left.place] == left_out
    assert reading.value("loss") is Loss.FULL


FACTORY = "model_name_or_path: Qwen/Qwen3-4B\nstage: sft\nbf16: true\nper_device_train_batch_size: 2\n"
FACTORY_V1 = "model: Qwen/Qwen3-0.6B\ndist_config: {name: fsdp2}\nmicro_batch_size: 2\n"


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ("tensor_model_parallel_size: 1", "Megatron's engine, with parallelism of its own"),
        ("image_max_pixels: 262144", "images, videos or sound beside the text"),
        ("export_dir: merged", "a file that evaluates, merges or serves a model: nothing trains"),
        ("do_predict: true", "a file that evaluates, merges or serves a model: nothing trains"),
        (
            "neat_packing: true\nflash_attn: fa2",
            "neat_packing with FlashAttention in a micro-batch above 1, which LLaMA-Factory refuses",
        ),
    ],
)
def test_what_llama_factory_does_otherwise_is_refused_by_name(more: str, what: str, tmp_path: Path) -> None:
    assert refusals(read(f"{FACTORY}{more}\n", tmp_path)) == [what]


def test_llama_factorys_packed_rows_stay_apart(tmp_path: Path) -> None:
    assert read(f"{FACTORY}neat_packing: true\n", tmp_path).rows_stay_apart
    assert refusals(read(f"{FACTORY}do_train: true\ndo_predict: true\n", tmp_path)) == []


@pytest.mark.parametrize(("bits", "dtype"), [("", "weights"), ("quantization_bit: 4\n", "fp32")])
def test_llama_factory_raises_adapters_under_zero_3_over_a_quantized_base_alone(
    bits: str, dtype: str, tmp_path: Path
) -> None:
    (tmp_path / "z3.json").write_text('{"zero_optimization": {"stage": 3}, "bf16": {"enabled": "auto"}}')
    reading = read(f"{FACTORY}{bits}deepspeed: {tmp_path}/z3.json\n", tmp_path)
    assert reading.value("adapter_dtype") == dtype


@pytest.mark.parametrize(("more", "choice"), [("use_peft: true\n", "full-reentrant"), ("", "full")])
def test_trl_checkpoints_reentrantly_where_zero_3_divides_a_model_with_adapters(
    more: str, choice: str, tmp_path: Path
) -> None:
    (tmp_path / "z3.json").write_text('{"zero_optimization": {"stage": 3}, "bf16": {"enabled": "auto"}}')
    text = f"model_name_or_path: meta-llama/Llama-3.2-1B\nmax_length: 512\nbf16: true\n{more}"
    reading = read(f"{text}deepspeed: {tmp_path}/z3.json\n", tmp_path)
    assert (reading.value("checkpointing"), reading.value("loss"), refusals(reading)) == (choice, "chunked", [])


def test_llama_factory_v1_says_kernels_attention_and_batching(tmp_path: Path) -> None:
    more = "kernel_config: {name: liger_kernel}\nflash_attn: flash_attention_2\nbatching_strategy: padding_free\n"
    reading = read(FACTORY_V1 + more, tmp_path)
    words = ("kernels", "loss", "attention", "batching")
    assert [reading.value(word) for word in words] == ["liger", "liger-fused-linear", "flash-attention-2", "packed"]
    assert refusals(read(f"{FACTORY_V1}batching_strategy: dynamic_batching\n", tmp_path)) == [
        "micro-batches of a changing number of samples: dynamic_batching"
    ]


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("TechxGenus/Meta-Llama-3-8B-Instruct-AWQ", "awq"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "gptq"),
        ("unsloth/llama-3-8b-bnb-4bit", "bnb-4bit"),
        ("Qwen/Qwen3-8B-FP8", "fp8"),
    ],
)
def test_a_checkpoint_that_is_quantized_already_is_refused(name: str, format: str, tmp_path: Path) -> None:
    reading = read(f"model_name_or_path: {name}\nstage: sft\nbf16: true\n", tmp_path)
    assert refusals(reading) == [f"a checkpoint that is quantized already: {format}"]


def test_names_that_only_look_quantized_are_not_refused(tmp_path: Path) -> None:
    for name in ("org/hqqual-8b", "org/print8-1b", "openai/gpt-oss-20b"):
        assert refusals(read(f"model_name_or_path: {name}\nstage: sft\nbf16: true\n", tmp_path)) == []


def test_an_empty_section_and_a_compiler_that_is_off_say_nothing(tmp_path: Path) -> None:
    launcher = "distributed_type: MULTI_GPU\nnum_processes: 2\nfsdp_config: {}\ndeepspeed_config: {}\n"
    reading = read(f"{launcher}dynamo_config: {{dynamo_backend: 'NO'}}\n", tmp_path)
    assert (reading.unknown, refusals(reading)) == ([], [])
    compiled = read(f"{launcher}dynamo_config: {{dynamo_backend: INDUCTOR}}\n", tmp_path)
    assert refusals(compiled) == ["torch.compile of the whole model"]
