"""Programs with a step of their own are read, with their traps, and are not planned as something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hardware import GIB
from planner import CheckResult, check

TORCHTUNE = """\
output_dir: /tmp/out
model:
  _component_: torchtune.models.llama3_1.lora_llama3_1_8b
  lora_attn_modules: ['q_proj', 'v_proj', 'output_proj']
  apply_lora_to_mlp: True
  quantize_base: True
tokenizer:
  _component_: torchtune.models.llama3.llama3_tokenizer
  max_seq_len: null
checkpointer:
  _component_: torchtune.training.FullModelHFCheckpointer
  checkpoint_dir: ${output_dir}/Meta-Llama-3.1-8B-Instruct/
batch_size: 2
batch_size_val: ${batch_size}
gradient_accumulation_steps: 8
optimizer: {_component_: torch.optim.AdamW, fused: True, lr: 3e-4}
loss: {_component_: torchtune.modules.loss.LinearCrossEntropyLoss}
dtype: bf16
enable_activation_checkpointing: True
fsdp:
  cpu_offload: True
"""
LITGPT = """\
checkpoint_dir: checkpoints/meta-llama/Meta-Llama-3-8B
out_dir: out
precision: bf16-true
quantize: bnb.nf4
devices: 1
lora_r: 32
lora_key: true
train: {global_batch_size: 8, micro_batch_size: 2, max_seq_length: 512}
optimizer: {class_path: torch.optim.AdamW}
"""
FOUNDRY = """\
compute: {gpus: 8}
command: |
  composer train.py
parameters:
  variables: {length: 4096}
  max_seq_len: ${variables.length}
  model:
    name: hf_causal_lm
    pretrained_model_name_or_path: meta-llama/Meta-Llama-3-8B
  train_loader:
    dataset: {max_seq_len: "${variables.length}", allow_pad_trimming: false}
  optimizer: {name: decoupled_adamw}
  global_train_batch_size: 64
  device_train_microbatch_size: 2
  precision: amp_bf16
  fsdp_config: {sharding_strategy: FULL_SHARD, activation_checkpointing: true}
"""
NEMO = """\
recipe: TrainFinetuneRecipeForNextTokenPrediction
step_scheduler: {global_batch_size: 64, local_batch_size: 8}
model:
  pretrained_model_name_or_path: meta-llama/Llama-3.2-1B
peft: {target_modules: '*_proj', dim: 16}
distributed: {strategy: fsdp2, dp_size: none, tp_size: 1}
loss_fn: {_target_: nemo_automodel.components.loss.masked_ce.MaskedCrossEntropy}
optimizer: {_target_: torch.optim.Adam}
"""
OPEN_INSTRUCT = """\
model_name_or_path: meta-llama/Llama-2-7b-hf
use_lora: true
use_qlora: true
max_seq_length: 4096
per_device_train_batch_size: 1
"""
SWIFT = """\
model: Qwen/Qwen2.5-7B-Instruct
tuner_type: lora
torch_dtype: bfloat16
max_length: 2048
learning_rate: 1e-4
"""


def read(folder: Path, text: str, gpus: int | None = None, name: str = "run.yaml") -> CheckResult:
    (folder / name).write_text(text)
    return check(folder / name, gpus=gpus)


@pytest.mark.parametrize(
    ("text", "gpus", "expected"),
    [
        (
            TORCHTUNE,
            1,
            {
                "model": "meta-llama/Llama-3.1-8B-Instruct",
                "finetuning": "qlora",
                "quantization": "nf4-double",
                "lora_targets": ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
                "lora_rank": 8,
                "sharding": "no_shard",
                "optimizer": "adamw",
            },
        ),
        (TORCHTUNE, 4, {"sharding": "full_shard", "sharding_backend": "fsdp2"}),
        (
            LITGPT,
            None,
            {
                "model": "meta-llama/Meta-Llama-3-8B",
                "lora_targets": ["q_proj", "k_proj", "v_proj"],
                "optimizer": "paged-adamw-32bit",
                "gradient_accumulation_steps": 4,
                "checkpointing": "none",
                "loss_chunk_tokens": 128,
            },
        ),
        (
            LITGPT.replace("devices: 1", "devices: 4").replace("quantize: bnb.nf4\n", ""),
            None,
            {"gpus": 4, "sharding_backend": "fsdp2", "checkpointing": "full", "gradient_accumulation_steps": 1},
        ),
        (
            FOUNDRY,
            None,
            {
                "gpus": 8,
                "sequence_length": 4096,
                "gradient_accumulation_steps": 4,
                "precision": "bf16-mixed",
                "checkpointing": "full-reentrant",
                "sharding_backend": "fsdp1",
                "batching": "full",
            },
        ),
        (FOUNDRY, 1, {"sharding": "no_shard", "gradient_accumulation_steps": 32}),
        (NEMO, 8, {"lora_targets": "all-linear", "lora_rank": 16, "gradient_accumulation_steps": 1}),
        (OPEN_INSTRUCT, None, {"finetuning": "qlora", "lora_rank": 64, "optimizer": "paged-adamw-32bit"}),
        (SWIFT, 2, {"lora_dropout": 0.05, "gradient_accumulation_steps": 8, "checkpointing": "full"}),
    ],
)
def test_its_settings_are_read(text: str, gpus: int | None, expected: dict[str, Any], tmp_path: Path) -> None:
    result = read(tmp_path, text, gpus)
    assert {word: result.reading[word].value for word in expected} == expected
    assert result.not_understood == ()
    is_planned = text in (SWIFT, OPEN_INSTRUCT)
    assert (result.plan is not None) is is_planned
    assert any("a step of" in remark.what for remark in result.refused) is not is_planned


def test_a_dead_key_is_told_apart(tmp_path: Path) -> None:
    (dead,) = read(tmp_path, TORCHTUNE).dead
    assert dead.what == "recipes read fsdp_cpu_offload and fsdp_reshard_after_forward"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (TORCHTUNE.replace("batch_size: 2\n", "batch_size: ${oc.env:BATCH}\n", 1), "which nothing in the file says"),
        (TORCHTUNE.replace("batch_size: 2\n", "batch_size: ${batch_size}\n", 1), "which nothing in the file says"),
        (TORCHTUNE + "tensor_parallel_dim: 2\n", "tensor parallelism"),
        (TORCHTUNE.replace("modules.loss.LinearCrossEntropyLoss", "rlhf.loss.DPOLoss"), "dpo: pairs"),
        (TORCHTUNE.replace("lora_llama3_1_8b", "os_system"), "the model that os_system builds"),
        (FOUNDRY.replace("decoupled_adamw", "decoupled_lionw"), "Composer's Lion"),
        (FOUNDRY.replace("microbatch_size: 2", "microbatch_size: auto"), "Composer halves until it fits"),
        (NEMO.replace("tp_size: 1", "tp_size: 2"), "tensor parallelism"),
        (SWIFT + "rlhf_type: dpo\n", "dpo: not the next-token loss"),
    ],
)
def test_what_has_no_word_is_named(text: str, what: str, tmp_path: Path) -> None:
    result = read(tmp_path, text)
    assert any(what in remark.what for remark in result.refused), result.refused


def test_references_of_references_end(tmp_path: Path) -> None:
    lines = "".join(f"a{i}: ${{a{i + 1}}}${{a{i + 1}}}\n" for i in range(40))
    result = read(tmp_path, f"{TORCHTUNE}{lines}a40: x\n")
    assert result.reading["micro_batch_size"].value == 2


def test_a_launchers_checkpointing_holds_where_ms_swift_switches_its_own_off(tmp_path: Path) -> None:
    launcher = tmp_path / "fsdp.yaml"
    launcher.write_text(
        "distributed_type: FSDP\nnum_processes: 2\nmixed_precision: bf16\n"
        "fsdp_config: {fsdp_version: 2, fsdp_activation_checkpointing: true}\n"
    )
    recipe = tmp_path / "swift.yaml"
    recipe.write_text(SWIFT + "gradient_checkpointing: false\n")
    found = check([recipe, launcher])
    assert (found.reading["checkpointing"].value, found.reading["sharding_backend"].value) == ("full", "fsdp2")


@pytest.mark.parametrize(("gpus", "checkpointing"), [(1, "full-reentrant"), (2, "full")])
def test_ms_swift_checkpoints_reentrantly_unless_by_ddp(gpus: int, checkpointing: str, tmp_path: Path) -> None:
    assert read(tmp_path, SWIFT, gpus).reading["checkpointing"].value == checkpointing


def test_open_instructs_dpo_is_known_by_its_epochs(tmp_path: Path) -> None:
    (refused,) = read(tmp_path, OPEN_INSTRUCT + "num_epochs: 3\n").refused
    assert refused.what == "dpo: pairs, whose script alone has num_epochs"


def test_names_of_ms_swift_2_are_read(tmp_path: Path) -> None:
    """Flags of github.com/ligw1998/PRIV-QA, code/finetune_recover.sh, and of an example of ms-swift 2."""
    script = tmp_path / "run.sh"
    script.write_text(
        "NPROC_PER_NODE=3 swift sft --model_type qwen2-1_5b-instruct --model_id_or_path /m/Qwen2-1___5B-Instruct"
        " --sft_type full --tuner_backend peft --dtype AUTO --batch_size 4 --use_flash_attn true"
        " --deepspeed default-zero3\n"
    )
    result = check(script, gpu="A100-80GB", changes=False)
    assert not result.refused
    said = {word: setting.value for word, setting in result.reading.items()}
    assert (said["micro_batch_size"], said["sequence_length"]) == (4, 2048)
    assert (said["attention"], said["sharding"]) == ("flash-attention-2", "full_shard")
    script.write_text(
        "swift sft --model_type qwen2-7b-instruct --sft_type lora --quantization_bit 4 --lora_dropout_p 0.1\n"
        "swift sft --model_type qwen2-7b-instruct --sft_type lora --lora_target_modules ALL --tuner_backend swift\n"
    )
    first, second = (check(script, launch=number, gpu="A100-80GB", changes=False) for number in (1, 2))
    said = {word: setting.value for word, setting in first.reading.items()}
    assert (said["quantization"], said["lora_targets"]) == ("nf4-double", ["q_proj", "k_proj", "v_proj"])
    assert said["lora_dropout"] == 0.1
    assert [remark.what for remark in second.refused] == ["adapters of swift"]


def test_a_name_of_ms_swift_s_own_json_is_no_file_here(tmp_path: Path) -> None:
    """A name stands for swift/config/*.json, whatever lies beside the script, unless a file is given."""
    (tmp_path / "zero3.json").write_text('{"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}}')
    recipe = tmp_path / "swift.yaml"
    recipe.write_text(SWIFT + "deepspeed: zero3\n")
    assert check(recipe, gpus=2).reading["offload"].value == "none"
    assert check([recipe, tmp_path / "zero3.json"], gpus=2).reading["offload"].value == "cpu"


@pytest.mark.parametrize(("name", "overlaps"), [("zero2", "no"), ("default-zero2", "yes")])
def test_buckets_of_ms_swift_s_own_json_are_read(name: str, overlaps: str, tmp_path: Path) -> None:
    reading = read(tmp_path, SWIFT + f"deepspeed: {name}\n", 2).reading
    assert (reading["reduce_bucket"].value, reading["overlap_comm"].value) == (200_000_000, overlaps)


@pytest.mark.parametrize(
    ("lines", "size"),
    [
        ("", None),
        ("split_dataset_ratio: 0.01\n", 1),
        ("val_dataset: val.jsonl\nper_device_eval_batch_size: 4\n", 4),
        ("split_dataset_ratio: 0.01\nstreaming: true\n", None),
        ("split_dataset_ratio: 0.01\neval_strategy: 'no'\n", None),
        ("sft_type: lora\nbatch_size: 2\n", 2),
        ("sft_type: lora\ndataset_test_ratio: 0\n", None),
    ],
)
def test_ms_swift_evaluates_where_it_has_samples_for_it(lines: str, size: int | None, tmp_path: Path) -> None:
    reading = read(tmp_path, SWIFT + lines, 1).reading
    found = reading.get("evaluation_batch_size")
    assert (found.value if found else None) == size


def test_liger_s_fused_loss_makes_logits_when_ms_swift_evaluates(tmp_path: Path) -> None:
    """Reserved bytes that ms-swift notes of examples/train/liger/sft.sh: 42 GiB, of which 36 are of training alone."""
    text = (
        "model: Qwen/Qwen2.5-7B\ntuner_type: full\ntorch_dtype: bfloat16\nmax_length: 8192\ndeepspeed: zero3\n"
        "gradient_accumulation_steps: 2\npacking: true\nattn_impl: flash_attn\nuse_liger_kernel: true\n"
    )
    (tmp_path / "sft.yaml").write_text(text)
    alone = check(tmp_path / "sft.yaml", gpus=4, gpu="A100-80GB-SXM", changes=False)
    (tmp_path / "sft.yaml").write_text(text + "split_dataset_ratio: 0.01\n")
    evaluated = check(tmp_path / "sft.yaml", gpus=4, gpu="A100-80GB-SXM", changes=False)
    assert alone.plan is not None
    assert evaluated.plan is not None
    assert alone.plan.memory.reserved_bytes < 38 * GIB
    assert evaluated.plan.memory.reserved_bytes == pytest.approx(42 * GIB, rel=0.02)
