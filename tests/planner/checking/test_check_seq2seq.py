"""Files of transformers' example scripts that train encoder-decoders."""

from pathlib import Path

from planner import check

SUMMARIES = """model_name_or_path: google-t5/t5-small
per_device_train_batch_size: 8
max_source_length: 512
max_target_length: 64
bf16: true
"""


def file_of(folder: Path, text: str) -> str:
    file = folder / "args.yaml"
    file.write_text(text)
    return str(file)


def test_lengths_of_source_and_target_are_planned(tmp_path: Path) -> None:
    found = check(file_of(tmp_path, SUMMARIES), gpu="L4", gpus=1)
    assert found.plan is not None
    request = found.plan.request
    assert (request.sequence_length, request.target_length, str(request.task)) == (512, 64, "seq2seq-lm")
    assert (found.refused, found.left_out, found.not_understood) == ((), (), ())
    target = found.reading["target_length"].place
    assert target is not None
    assert (target.key, target.line) == ("max_target_length", 4)


def test_lengths_that_no_key_says_are_the_script_s(tmp_path: Path) -> None:
    kept = "".join(line for line in SUMMARIES.splitlines(True) if "max_source" not in line and "max_target" not in line)
    found = check(file_of(tmp_path, f"{kept}val_max_target_length: 128\n"), gpu="L4", gpus=1)
    assert found.plan is not None
    assert (found.plan.request.sequence_length, found.plan.request.target_length) == (1024, 128)
    assert found.reading["target_length"].why == "transformers 5.24, run_summarization.py"


def test_what_evaluations_do_besides_is_said(tmp_path: Path) -> None:
    more = "eval_strategy: epoch\nval_max_target_length: 200\npredict_with_generate: true\ngeneration_max_length: 200\n"
    found = check(file_of(tmp_path, SUMMARIES + more), gpu="L4", gpus=1)
    assert found.plan is not None
    assert found.plan.request.target_length == 64
    said = {remark.place.key: remark.what for remark in found.left_out if remark.place}
    assert said["val_max_target_length"] == "evaluations of targets of 200 tokens"
    assert "generates" in said["predict_with_generate"]


def test_a_decoder_is_refused(tmp_path: Path) -> None:
    found = check(file_of(tmp_path, SUMMARIES.replace("google-t5/t5-small", "gpt2")), gpu="L4", gpus=1)
    assert found.plan is None
    assert "gpt2 is planned for causal-lm alone" in found.refused[0].what


def test_a_launched_script_is_read(tmp_path: Path) -> None:
    file = tmp_path / "run.sh"
    file.write_text(
        "torchrun --nproc_per_node 2 run_translation.py --model_name_or_path google-t5/t5-small --do_train \\\n"
        "  --source_lang en --target_lang ro --max_target_length 100 --per_device_train_batch_size 4 --output_dir out\n"
    )
    found = check(str(file), gpu="L4")
    assert found.plan is not None
    assert (found.plan.request.gpus, found.plan.request.target_length) == (2, 100)
