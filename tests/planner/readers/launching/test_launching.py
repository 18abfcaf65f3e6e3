"""Launch scripts are read as the files that they name, and as the flags that they give; nothing in them runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hardware import PlannerError
from planner import CheckResult, check
from planner.cli import main
from planner.readers.launching.commands import commands

SFT = "--model_name_or_path Qwen/Qwen2.5-0.5B --max_length 512 --per_device_train_batch_size 2"
RECIPE = "model_name_or_path: Qwen/Qwen2.5-0.5B\nmax_length: 512\nper_device_train_batch_size: 8\ndtype: bfloat16\n"
ZERO3 = {"zero_optimization": {"stage": 3}, "bf16": {"enabled": "auto"}}


def read(script: str, tmp_path: Path, files: dict[str, str] | None = None, **options: Any) -> CheckResult:
    for name, text in (files or {}).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "run.sh").write_text(script)
    return check(tmp_path / "run.sh", **options)


def said(result: CheckResult, *words: str) -> list[Any]:
    return [result.reading[word].value if word in result.reading else None for word in words]


def words_of(script: str) -> list[list[str]]:
    return [[word.text for word in command.words] for command in commands(script)]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("a 'b c' \"d e\" f\\ g # no", [["a", "b c", "d e", "f g"]]),
        ("a \\\n  --b 1\nc; d && e | f", [["a", "--b", "1"], ["c"], ["d"], ["e"], ["f"]]),
        ("N=4\na $N ${N}x '$N' \"$N y\"", [["a", "4", "4x", "$N", "4 y"]]),
        ("export N=4\na $((N * 2)) $(expr 16 / $N) ${M:-3} $UNKNOWN", [["a", "8", "4", "3", "${UNKNOWN}"]]),
        ("X='--a 1'\nb $X \"$X\"", [["b", "--a", "1", "--a 1"]]),
        ('X=(--a 1\n --b "c d")\nX+=(e)\nf "${X[@]}"', [["f", "--a", "1", "--b", "c d", "e"]]),
        ("cat <<EOF > x\nnot a command\nEOF\na > log 2>&1", [["cat"], ["a"]]),
        ("if true; then a; fi", [["true"], ["a"], ["fi"]]),
        ('a "$@" $(rm -rf x) $((1 / 0))', [["a", "${rm -rf x}", "${arithmetic}"]]),
    ],
)
def test_words_are_those_of_bash(script: str, expected: list[list[str]]) -> None:
    assert words_of(script) == expected


@pytest.mark.parametrize("script", ["'", '"', "$(", "${", "a=(", "\\", "<<", "$((", "((((", "<<EOF\n", "a=$a$a\n" * 60])
def test_broken_scripts_end(script: str) -> None:
    assert isinstance(words_of(script), list)


def test_flags_of_trl_are_read_with_their_lines(tmp_path: Path) -> None:
    result = read(
        f"#!/bin/bash\nGPUS=4\ntrl sft --num_processes $GPUS \\\n  {SFT} --packing \\\n  --bf16 true\n", tmp_path
    )
    words = ("gpus", "sharding", "micro_batch_size", "sequence_length", "batching", "precision")
    assert said(result, *words) == [4, "no_shard", 2, 512, "packed", "bf16-mixed"]
    place = result.reading["micro_batch_size"].place
    assert place is not None
    assert (place.line, place.key) == (4, "per_device_train_batch_size")
    assert result.plan is not None


def test_a_recipe_and_a_launchers_file_are_followed(tmp_path: Path) -> None:
    launcher = "distributed_type: FSDP\nnum_processes: 8\nfsdp_config: {fsdp_version: 2}\n"
    script = "accelerate launch --config_file fsdp.yaml --num_processes=2 sft.py --config run.yaml --max_length 1024\n"
    result = read(script, tmp_path, {"fsdp.yaml": launcher, "run.yaml": RECIPE})
    words = ("gpus", "sharding_backend", "micro_batch_size", "sequence_length")
    assert said(result, *words) == [2, "fsdp2", 8, 1024]


def test_accelerates_switches_are_its_file(tmp_path: Path) -> None:
    script = f"accelerate launch --use_deepspeed --zero_stage 3 --num_processes 8 --mixed_precision bf16 sft.py {SFT}\n"
    assert said(read(script, tmp_path), "gpus", "sharding", "sharding_backend") == [8, "full_shard", "deepspeed"]


@pytest.mark.parametrize(
    ("command", "gpus", "nodes"),
    [
        ("torchrun --nproc_per_node=4 --nnodes 2 --master_port 1 sft.py", 4, 2),
        ("python -m torch.distributed.run --standalone --nproc-per-node 2 sft.py", 2, 1),
        ("deepspeed --num_gpus 8 sft.py", 8, 1),
        ("deepspeed --include localhost:0,1,2 sft.py", 3, 1),
        ("python sft.py", 1, 1),
        ("srun --gres gpu:8 torchrun --nproc_per_node 8 sft.py", 8, 1),
    ],
)
def test_processes_are_counted_as_each_launcher_does(command: str, gpus: int, nodes: int, tmp_path: Path) -> None:
    assert said(read(f"{command} {SFT}\n", tmp_path), "gpus", "nodes") == [gpus, nodes]


def test_deepspeeds_json_of_a_flag_is_followed(tmp_path: Path) -> None:
    script = f"deepspeed --num_gpus 2 sft.py {SFT} --deepspeed ds.json\n"
    result = read(script, tmp_path, {"ds.json": json.dumps(ZERO3)})
    assert said(result, "sharding", "sharding_backend") == ["full_shard", "deepspeed"]


def test_llama_factory_takes_keys_behind_its_file(tmp_path: Path) -> None:
    recipe = "model_name_or_path: Qwen/Qwen3-4B\nstage: sft\nfinetuning_type: full\nbf16: true\n"
    script = "export CUDA_VISIBLE_DEVICES=0,1\nllamafactory-cli train run.yaml cutoff_len=1024 finetuning_type=lora\n"
    result = read(script, tmp_path, {"run.yaml": recipe})
    assert said(result, "gpus", "sequence_length", "finetuning") == [2, 1024, "lora"]
    flags = "llamafactory-cli train --stage sft --model_name_or_path Qwen/Qwen3-4B --bf16 True --cutoff_len 512\n"
    assert said(read(flags, tmp_path), "sequence_length", "finetuning") == [512, "lora"]


def test_axolotl_and_swift_are_read(tmp_path: Path) -> None:
    recipe = "base_model: meta-llama/Llama-3.2-1B\nbf16: true\nmicro_batch_size: 1\n"
    result = read("axolotl train run.yml --micro-batch-size 4 --num-processes 2\n", tmp_path, {"run.yml": recipe})
    assert said(result, "gpus", "micro_batch_size") == [2, 4]
    swift = (
        "NPROC_PER_NODE=2 swift sft --model Qwen/Qwen2.5-7B --deepspeed zero3_offload --gradient_accumulation_steps 4\n"
    )
    words = ("gpus", "sharding", "offload", "gradient_accumulation_steps", "finetuning")
    assert said(read(swift, tmp_path), *words) == [2, "full_shard", "cpu", 4, "lora"]


def test_a_flag_with_a_mapping_and_one_that_is_off(tmp_path: Path) -> None:
    kwargs = "--gradient_checkpointing_kwargs '{\"use_reentrant\": true}'"
    assert said(read(f"trl sft {SFT} {kwargs}\n", tmp_path), "checkpointing") == ["full-reentrant"]
    assert said(read(f"trl sft {SFT} --no_gradient_checkpointing\n", tmp_path), "checkpointing") == ["none"]
    several = "--use_peft --dtype bfloat16 --lora_target_modules q_proj k_proj"
    assert said(read(f"trl sft {SFT} {several}\n", tmp_path), "lora_targets") == [["q_proj", "k_proj"]]


@pytest.mark.parametrize(
    ("script", "what"),
    [
        (f"trl dpo {SFT}", "dpo: not the next-token loss of one sequence a sample"),
        (f"accelerate launch scripts/grpo.py {SFT}", "grpo: not the next-token loss of one sequence a sample"),
        ("megatron sft --model Qwen/Qwen2.5-7B", "Megatron's engine, with parallelism of its own"),
        (f"torchrun train.py {SFT} --lora_enable True --lora_r 8", "what train makes of lora_enable, lora_r"),
        # LoRA of a script that calls its rank `rank`: github.com/mesolitica/malaya, session/qwen2.5/72b-lora-128.sh
        (f"torchrun -m train {SFT} --rank 128", "what train makes of rank"),
        # github.com/AnswerDotAI/fsdp_qlora, train.sh
        (f"python train.py {SFT} --max_steps 9 --train_type custom_qlora", "what train makes of train_type"),
        (
            f"deepspeed finetune.py {SFT} --use_lora True --q_lora True",  # github.com/QwenLM/Qwen, finetune
            "what finetune makes of use_lora, q_lora",
        ),
        (
            "torchrun x.py --model_name_or_path Qwen/Qwen2.5-0.5B --max_steps 9 --train_bs 8 --max_len 4096",
            "what x makes of max_len: -- max_length=N says it",
        ),
        (
            "torchrun x.py --model_name_or_path Qwen/Qwen2.5-0.5B --max_steps 9 --train_bs 8 --max_len 4096",
            "what x makes of train_bs: -- per_device_train_batch_size=N says it",
        ),
    ],
)
def test_what_a_command_does_otherwise_is_refused_by_name(script: str, what: str, tmp_path: Path) -> None:
    assert what in [remark.what for remark in read(f"{script}\n", tmp_path).refused]


def test_what_is_said_beside_a_scripts_own_length_and_batch_is_taken(tmp_path: Path) -> None:
    script = "torchrun x.py --model_name_or_path Qwen/Qwen2.5-0.5B --max_steps 9 --bs 8 --max_len 4096"
    result = read(script, tmp_path, overrides=["max_length=64", "per_device_train_batch_size=2"])
    assert not result.refused
    assert said(result, "sequence_length", "micro_batch_size") == [64, 2]


def test_prompts_and_batches_of_evaluation_are_no_technique(tmp_path: Path) -> None:
    """A script's `--prompt_type` says how texts look: github.com/yyDing1/ScaleQuest, query_sft/run_deepseek.sh."""
    script = "torchrun --nproc_per_node 1 train.py --model_name_or_path Qwen/Qwen2.5-0.5B --max_steps 9"
    assert not read(f"{script} --prompt_type x --eval_bsz 4 --data_length 1000", tmp_path).refused


@pytest.mark.parametrize(
    "script",
    [
        # github.com/tloen/alpaca-lora, finetune.py: int8 LoRA, whose arguments are partly named as keys of axolotl
        "python finetune.py --base_model llama-1-7b --batch_size 128 --micro_batch_size 4 --cutoff_len 512 --lora_r 8",
        "python train_lora.py --base_model llama-1-7b --use_lora --adapter_name dora --micro_batch_size 2",
    ],
)
def test_flags_of_another_program_are_not_those_of_one_that_is_read(script: str, tmp_path: Path) -> None:
    with pytest.raises(PlannerError, match="is of no framework that is read"):
        read(script, tmp_path)


def test_open_instruct_is_known_by_its_path(tmp_path: Path) -> None:
    script = "torchrun --nproc_per_node 1 {} --model_name_or_path Qwen/Qwen2.5-0.5B --use_lora --max_seq_length 128"
    assert said(read(script.format("open_instruct/finetune.py"), tmp_path), "finetuning", "lora_rank") == ["lora", 64]
    other = read(script.format("finetune.py") + " --max_steps 9", tmp_path)
    assert [remark.what for remark in other.refused] == ["what finetune makes of use_lora"]


def test_a_flag_of_an_earlier_llama_factory_is_flash_attention(tmp_path: Path) -> None:
    """github.com/GAIR-NLP/cs2916, hw2/finetune/run.sh; github.com/hiyouga/LLaMA-Factory/issues/3259."""
    script = (
        "python src/train_bash.py --stage sft --do_train --model_name_or_path Qwen/Qwen2.5-0.5B --flash_attn --bf16"
    )
    result = read(script, tmp_path)
    assert not result.refused
    assert (result.framework, *said(result, "attention")) == ("LLaMA-Factory 0.9.5", "flash-attention-2")


def test_a_variable_with_an_open_one_in_it_is_split(tmp_path: Path) -> None:
    """Launchers' arguments stand in one variable, with a count that only a run says: QwenLM/Qwen, finetune_ds.sh."""
    script = 'N=$(count gpus)\nARGS="\n  --nproc_per_node $N --nnodes 2\n"\ntorchrun $ARGS sft.py ' + SFT
    result = read(script, tmp_path)
    assert said(result, "model", "micro_batch_size") == ["Qwen/Qwen2.5-0.5B", 2]


@pytest.mark.parametrize(
    ("path", "hub"),
    [
        ("/data/hf-models/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("/mnt/modelscope_hub/qwen/Qwen2___5-7B", "Qwen/Qwen2.5-7B"),
        ("../c/models--Qwen--Qwen2.5-7B-Instruct/snapshots/a09a35458c70", "Qwen/Qwen2.5-7B-Instruct"),
    ],
)
def test_a_folder_on_another_machine_is_the_model_of_its_name(path: str, hub: str, tmp_path: Path) -> None:
    result = read(f"trl sft --model_name_or_path {path} --max_length 512\n", tmp_path, gpu="H100")
    assert not result.refused
    assert f"{path} is taken for {hub}, whose name it has" in result.notes


def test_a_folder_of_no_known_name_is_refused_with_the_way_out(tmp_path: Path) -> None:
    result = read("trl sft --model_name_or_path /data/mine-8b --max_length 512\n", tmp_path, gpu="H100")
    assert "-- model_name_or_path=PATH with its config.json says it" in result.refused[0].what


def test_what_the_environment_would_say_is_refused(tmp_path: Path) -> None:
    result = read("trl sft --model_name_or_path $MODEL --per_device_train_batch_size $1\n", tmp_path)
    assert [remark.what for remark in result.refused] == [
        "model_name_or_path is '${MODEL}', which nothing in the file says",
        "per_device_train_batch_size is '${1}', which nothing in the file says",
    ]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            f"trl sft {SFT}\ntrl sft {SFT}\n",
            r"run\.sh launches 2 runs:\n  1\. line 1: trl sft .*\n  2\. line 2: trl sft ",
        ),
        ("echo nothing\n", r"run\.sh launches no training that is known by its name"),
        ("axolotl train none.yml\n", r"run\.sh:1: none\.yml is not here"),
    ],
)
def test_a_script_without_one_run_is_an_error(script: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PlannerError, match=message):
        read(script, tmp_path)


def test_a_command_line_comes_from_standard_input() -> None:
    result = CliRunner().invoke(main, ["check", "-", "--json"], input=f"torchrun --nproc_per_node 2 sft.py {SFT}\n")
    assert json.loads(result.stdout)["reading"]["gpus"]["value"] == 2


def test_changes_are_of_the_files_that_a_script_names(tmp_path: Path) -> None:
    recipe = RECIPE.replace("batch_size: 8", "batch_size: 512")
    files = {"run.yaml": f"{recipe}attn_implementation: flash_attention_2\n"}
    result = read("python sft.py --config run.yaml\n", tmp_path, files, gpu="RTX-4090")
    assert not result.fits
    assert {name.rpartition("/")[2] for change in result.changes for name in change.files} == {"run.yaml"}
    said_by_flag = read("python sft.py --config run.yaml --per_device_train_batch_size 512\n", tmp_path, gpu="RTX-4090")
    assert all("per_device_train_batch_size" not in {k.key for k in c.keys} for c in said_by_flag.changes)


def test_one_of_several_runs_is_meant_by_its_line(tmp_path: Path) -> None:
    script = tmp_path / "two.sh"
    script.write_text(
        "torchrun --nproc_per_node 8 sft.py --model_name_or_path Qwen/Qwen2.5-0.5B\n"
        "torchrun --nproc_per_node 2 sft.py --model_name_or_path Qwen/Qwen2.5-7B\n"
    )
    with pytest.raises(PlannerError, match="launches 2 runs:") as several:
        check(script)
    assert several.value.message.splitlines()[2].startswith("  2. line 2: torchrun --nproc_per_node 2 sft.py --model")
    assert several.value.hint == f"--launch 1 checks the first, and so does {script}:1"
    with pytest.raises(PlannerError, match=r"there is no launch 3: .* launches 2 runs"):
        check(script, launch=3)
    assert check(script, launch=2).reading == check(f"{script}:2").reading
    (tmp_path / "sft.yaml").write_text(RECIPE)
    with pytest.raises(PlannerError, match="--launch 1 is of a script, and no FILE is one"):
        check(tmp_path / "sft.yaml", launch=1)
    with pytest.raises(PlannerError, match="launches no training on line 3"):
        check(f"{script}:3")
    found = check(f"{script}:2").reading
    assert (found["model"].value, found["gpus"].value) == ("Qwen/Qwen2.5-7B", 2)


@pytest.mark.parametrize(
    ("environment", "gpus", "divided"),
    [
        ("CUDA_VISIBLE_DEVICES=0", 1, 0),
        ("CUDA_VISIBLE_DEVICES=0,1", 1, 2),
        ("NPROC_PER_NODE=2 CUDA_VISIBLE_DEVICES=0,1", 2, 0),
        ("NPROC_PER_NODE=2 CUDA_VISIBLE_DEVICES=0,1,2,3", 2, 2),
    ],
)
def test_ms_swift_divides_a_model_over_the_gpus_of_a_process(
    environment: str, gpus: int, divided: int, tmp_path: Path
) -> None:
    found = read(f"{environment} swift sft --model Qwen/Qwen2.5-0.5B --max_length 512 --tuner_type lora\n", tmp_path)
    assert said(found, "gpus") == [gpus]
    whats = [remark.what for remark in found.refused]
    assert whats == ([f"a model whose layers are divided over {divided} GPUs of a process"] if divided else [])


def test_images_of_ms_swift_are_refused_by_their_pixels(tmp_path: Path) -> None:
    command = "MAX_PIXELS=1003520 swift sft --model google/gemma-3-4b-it --tuner_type lora --max_length 512\n"
    assert [remark.what for remark in read(command, tmp_path).refused] == ["images beside the text"]
