"""Options of other tools: the hint has the planner's option with its value, and a command that can be pasted."""

from __future__ import annotations

import re
import shlex

import pytest
from click.testing import CliRunner, Result

from planner.cli import main

START = "fit gpt2 --gpu A100-40GB"


def run(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line))


def hint(line: str) -> str:
    ended = run(line)
    assert ended.exit_code == 2
    return ended.stderr.partition("hint: ")[2].strip()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("--method lora", "--finetuning lora"),
        ("--method=lora", "--finetuning lora"),
        ("--finetunning lora", "--finetuning lora"),
        ("--use_peft true", "--finetuning lora"),
        ("--qlora", "--finetuning qlora"),
        ("--max-seq-length 512", "--sequence-length 512"),
        ("--per_device_train_batch_size 4", "--micro-batch-size 4"),
        ("--nproc_per_node 8", "--gpus 8"),
        ("--zero_stage 3 --gpus 2", "--sharding zero3"),
        ("--strategy fsdp --gpus 2", "--sharding full_shard"),
        ("--fsdp 'full_shard auto_wrap' --gpus 2", "--sharding full_shard"),
        ("--load_in_4bit true --method qlora", "--quantization nf4"),
        ("--quantization_bit 8 --method qlora", "--quantization int8"),
        ("--dtype bfloat16", "--precision bf16-mixed"),
        ("--bf16 True", "--precision bf16"),
        ("--optim adamw_torch", "--optimizer adamw_torch"),
        ("--gradient_checkpointing true", "--checkpointing full"),
        ("--attn_implementation flash_attention_2", "--attention flash_attention_2"),
        ("--target_modules c_attn,c_fc --method lora", "--lora-targets c_attn,c_fc"),
        ("--lora_target all --method lora", "--lora-targets all-linear"),
        ("--unsloth", "--framework trl"),
    ],
)
def test_the_value_of_another_tools_option_is_kept(said: str, meant: str) -> None:
    found = hint(f"{START} {said}")
    assert found.startswith(f"did you mean {meant}?  (planner {START} ")
    command = re.fullmatch(r".*\(planner (.*)\)", found)
    assert command is not None
    assert run(command[1]).exit_code == 0


def test_all_options_of_another_tool_are_reworded_at_once() -> None:
    said = f"{START} --lora_r 8 --method lora --lr 2e-4 --bf16 true --report_to wandb --bs 4 --json"
    meant = "--lora-rank 8 --finetuning lora --precision bf16 --micro-batch-size 4 --json"
    assert hint(said) == f"did you mean --lora-rank 8?  (planner {START} {meant})"


@pytest.mark.parametrize(
    ("said", "answer", "command"),
    [
        ("--lr 1e-4", "lr changes neither memory nor speed: leave it out", START),
        ("--gradient_checkpointing false", "leave --gradient_checkpointing out", START),
        (
            "--batch-size 8",
            "--micro-batch-size 8 of a GPU's pass, or --global-batch-size 8 of a step",
            f"{START} --micro-batch-size 8",
        ),
        ("--dp 8", "all GPUs are data-parallel: --gpus of a node times --nodes", f"{START} --gpus 8"),
        (
            "--tp 2",
            "tensor parallelism is not planned: --sharding full_shard divides weights over all GPUs",
            f"{START} --gpus 2 --sharding full_shard",
        ),
        (
            "--tp 2 --gpus 8",  # as many as are said
            "tensor parallelism is not planned: --sharding full_shard divides weights over all GPUs",
            f"{START} --sharding full_shard --gpus 8",
        ),
        ("--pp 1", "pipeline parallelism is not planned: --sharding full_shard divides weights over all GPUs", START),
    ],
)
def test_what_no_option_stands_for_is_told_with_a_command(said: str, answer: str, command: str) -> None:
    assert hint(f"{START} {said}") == f"{answer}  (planner {command})"
    assert run(command).exit_code == 0


@pytest.mark.parametrize(
    ("said", "way_out"),
    [
        ("--xyzzy 1", "planner fit --help explains"),
        ("--tp ²", "tensor parallelism is not planned: --sharding full_shard divides weights over all GPUs"),
        ("--max_steps 1000", "--tokens or --samples of the whole run say how long it is"),
        ("--gpuu T4", "did you mean --gpu, --gpus?"),
        ("--dtype", "did you mean --precision?"),
        ("--dtype int3", "did you mean --precision?"),
        ("--method lora --xyzzy", "did you mean --finetuning lora?"),  # no command, since one option stays unknown
        ("--method lora --help", "did you mean --finetuning lora?"),
        ("--deepspeed ds.json", "did you mean --sharding-backend deepspeed?"),  # whose file would stay
    ],
)
def test_no_command_is_shown_where_something_stays_open(said: str, way_out: str) -> None:
    assert hint(f"{START} {said}") == way_out


def test_what_is_not_planned_is_said_of_the_flag_too() -> None:
    assert hint(f"{START} --dpo").startswith("--task causal-lm comes near")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("fit --model gpt2 --gpu T4", "fit gpt2 --gpu T4"),
        ("fit --model_name_or_path openai-community/gpt2 --gpu T4", "fit openai-community/gpt2 --gpu T4"),
        ("estimate --lora gpt2 --gpu T4", "estimate --finetuning lora gpt2 --gpu T4"),  # whose value gpt2 is not
        ("fit gpt2 --memory 24", "fit gpt2 --gpu 24GiB"),
        ("fit gpt2 --gpu-type 'a100 40gb'", "fit gpt2 --gpu 'a100 40gb'"),
    ],
)
def test_model_and_gpu_are_put_where_they_belong(line: str, command: str) -> None:
    assert f"planner {command}" in hint(line)
    assert run(command).exit_code == 0


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("fit gpt2 rtx 4090", "fit gpt2 --gpu 'rtx 4090'"),
        ("fit gpt2 4090", "fit gpt2 --gpu 4090"),
        ("explain gpt2 a100", "explain gpt2 --gpu a100"),
        ("fit gpt2 --gpu rtx 4090", "fit gpt2 --gpu 'rtx 4090'"),
        ("fit llama2 7b --gpu h100", "fit 'llama2 7b' --gpu h100"),
        ("fit gpt2 --gpu t4 l4", "fit gpt2 --gpu t4,l4"),
        ("train gpt2 --gpu T4", "fit gpt2 --gpu T4"),
        ("gpt2 --gpu T4", "fit gpt2 --gpu T4"),
        ("planner fit gpt2 --gpu T4", "fit gpt2 --gpu T4"),
        ("vram gpt2 --gpu T4", "estimate gpt2 --gpu T4"),
        ("list gpus", "gpus"),
        ("list", "gpus"),
        ("help fit", "fit --help"),
        ("help", "--help"),
        ("version", "--version"),
    ],
)
def test_words_in_other_places_are_put_where_they_belong(line: str, command: str) -> None:
    assert hint(line) == f"planner {command}"
    assert run(command).exit_code == 0


@pytest.mark.parametrize(
    ("line", "way_out"),
    [
        ("fit 7B 8B --gpu T4", "planner fit --help explains"),  # two models are none
        ("fit gpt2 --gpu gtx 1660", "planner fit --help explains"),  # which no catalog lists
        ("fit gpt2 --gpu T4 --gpus 8x", "--gpus 8"),
        ("fit gpt2 --gpu T4 --precision 4bit", "did you mean bf16-mixed, with --finetuning qlora --quantization nf4?"),
        ("fit gpt2 --gpu T4 --finetuning qlora --quantization 8", "did you mean int8?"),
        ("fit gpt2 --gpu T4 --framework hf", "did you mean transformers?"),
        ("fit gpt2 --gpu T4 --bits 4 --qlora", "did you mean --quantization nf4?"),
        ("fit gpt2 --gpu T4 --r 64 --lora", "did you mean --lora-rank 64?"),
        ("fit gpt2 --vram 16 --ram 64", "did you mean --host-memory 64GiB?"),
        ("fit gpt2 --gpu T4 --layers-to-transform 0,1", "adapters in some blocks alone are not planned"),
    ],
)
def test_what_a_newcomer_types_is_answered(line: str, way_out: str) -> None:
    assert hint(line).startswith(way_out)


def test_names_are_sought_in_the_registry_and_never_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("planner.models.sources.hub.download_config", lambda *args, **kwargs: asked.append(args))
    assert hint("fit hf:org/name T4 --gpu T4") == "planner fit --help explains"
    assert asked == []


def test_words_behind_models_are_one_name_too() -> None:
    shown = run("models llama 2 7b")
    assert (shown.exit_code, shown.stdout.splitlines()[0]) == (0, "llama-2-7b")


def test_dollars_may_stand_with_their_sign() -> None:
    assert run("fit gpt2 --gpu T4 --tokens 1M --budget '$50' --price '0.5 USD'").exit_code == 0
    assert hint("fit gpt2 --gpu T4 --tokens 1M --budget '€50'") == "budget is such as 3 or 2.5"
