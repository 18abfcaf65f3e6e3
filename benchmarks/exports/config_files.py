"""Compares what `planner check` reads out of published configuration files with a reading by hand.

python benchmarks/exports/config_files.py FOLDER            # a line a file, then the share of right fields by framework
python benchmarks/exports/config_files.py FOLDER --fields   # also each field that is not right

FOLDER holds published files under the names of their frameworks, and `expected.yaml`, which says of some of them what
is in there: a list of `cases` with `file`, `with` (files read together with it), `gpus` and `reading`. Values in angle
brackets are what the planner has no word for: those are right where a refusal names the very thing.

A field is right; not understood, where it is not read and the run is refused; or wrong, which nothing tells the user.
Every file is read alone as well: what it is refused for, and keys that are not understood, are printed; an internal
error ends the script.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from hardware import PlannerError
from planner.checking.check import check
from planner.records.check import CheckResult

SEVEN = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
NO_WORD = {
    "<cut cross-entropy>": None,
    "<dpo>": "dpo",
    "<completion>": "context parallelism",
    "<deepspeed-bf16>": None,
    "<lion": "lion",
    "<paged adamw": None,
}
"""What a refusal says of each value in angle brackets; None for those that are the planner's words by now."""
PAGED = "<paged adamw"
CUT = "<cut cross-entropy>"
ZERO = {1: "zero1", 2: "shard_grad_op", 3: "full_shard"}


def in_words(result: CheckResult) -> dict[str, Any]:
    """What was read, in the words of the readings by hand."""
    found = {word: setting.value for word, setting in result.reading.items()}
    full = found.get("checkpointing")
    if full in ("full", "full-reentrant"):
        found["checkpointing"], found["checkpointing_reentrant"] = "full", full == "full-reentrant"
    if isinstance(targets := found.get("lora_targets"), list) and set(targets) == SEVEN:
        found["lora_targets"] = "all-linear"
    deepspeed = found.get("sharding_backend") == "deepspeed"
    if deepspeed and found.get("finetuning") == "full" and found.get("precision") == "bf16-mixed":
        found["precision"] = "<deepspeed-bf16>"
    if not found:
        return found
    found["engine"] = found.pop("sharding_backend", None)
    if found.get("optimizer") == "paged-adamw-32bit":
        found["optimizer"] = PAGED
    if found.get("loss") == "cut-cross-entropy":
        found["loss"] = CUT
    found["zero_stage"] = next((k for k, v in ZERO.items() if deepspeed and found.get("sharding") == v), None)
    found["offload"] = "cpu" if found.get("offload") in ("cpu", "optimizer") else "none"
    if "finetuning" in found:
        quantization = found.setdefault("quantization", "none").removesuffix("-double")
        in_fp32 = any(remark.what.startswith("a frozen base in f") for remark in result.refused)
        found["frozen_dtype"] = quantization if quantization != "none" else "fp32" if in_fp32 else "bf16"
    found["galore_rank"] = found.get("optimizer_rank")
    if found.get("gpus"):
        found["gpus"] *= found.get("nodes", 1)
    return found


def judged(expected: Any, value: Any, refusals: list[str]) -> str:
    """Whether a field is right, not understood, or wrong.

    Args:
        expected: The value by hand; in angle brackets what has no word.
        value: What was read; None if nothing was.
        refusals: What the run is refused for.
    """
    if value == expected:
        return "right"
    named = NO_WORD.get(expected) if isinstance(expected, str) else None
    if named is not None and any(named in what.casefold() for what in refusals):
        return "right"
    return "not understood" if refusals and value is None else "wrong"


def compared(case: dict[str, Any], folder: Path) -> tuple[Counter[str], list[str]]:
    """How many fields are right, not understood and wrong, and a line for each that is not right."""
    names = [case["file"], *case.get("with", ())]
    launched = case["gpus"] if isinstance(case["gpus"], int) else None
    asked = {word: value for word, value in case["reading"].items() if value is not None or word == "engine"}
    try:
        result = check([folder / name for name in names], gpus=launched, gpu="H100-80GB-SXM")
    except PlannerError as error:
        return Counter({"not understood": len(asked)}), [f"    all: {error.message}"]
    found, refusals = in_words(result), [remark.what for remark in result.refused]
    counts: Counter[str] = Counter()
    lines = []
    for word, expected in asked.items():
        # DDP is the engine of no sharding; a case with null says that the framework has no fixed value.
        kind = judged(None if expected == "ddp" else expected, found.get(word), refusals)
        counts[kind] += 1
        if kind != "right":
            lines.append(f"    {word}: {found.get(word)!r}, by hand {expected!r}: {kind}")
    return counts, [*lines, *(f"    refused: {what}" for what in refusals)]


def main(arguments: list[str]) -> None:
    """Prints the table."""
    folder, fields = Path(arguments[0]), "--fields" in arguments
    cases = yaml.safe_load((folder / "expected.yaml").read_text())["cases"]
    totals: dict[str, Counter[str]] = {}
    for case in cases:
        framework = case["file"].partition("/")[0]
        counts, lines = compared(case, folder)
        totals.setdefault(framework, Counter()).update(counts)
        right, every = counts["right"], counts.total()
        rest = f"{counts['not understood']:2} not understood {counts['wrong']:2} wrong"
        print(f"{right:3} of {every:3}  {rest}  {case['file']}")
        if fields and lines:
            print("\n".join(lines))
    print()
    totals["all"] = sum(totals.values(), Counter())
    for framework, counts in totals.items():
        right, every = counts["right"], counts.total()
        print(f"{framework:20} {right:3} of {every:3} right = {right / every:.1%}, ", end="")
        print(f"{counts['not understood']} not understood, {counts['wrong']} wrong")
    if fields:
        print()
        for file in sorted([*folder.rglob("*.y*ml"), *folder.rglob("*.json")]):
            if file.parent != folder:
                print(f"{file.relative_to(folder)}: {alone(file)}")


def alone(file: Path) -> str:
    """What `check` says of one file, in a line."""
    try:
        result = check(file, gpu="H100-80GB-SXM")
    except PlannerError as error:
        return error.message.replace("\n", " ")
    unknown = (
        f"; not understood: {', '.join(key.key for key in result.not_understood)}" if result.not_understood else ""
    )
    if result.plan is None:
        return f"refused: {'; '.join(remark.what for remark in result.refused)}{unknown}"
    return result.plan.headline() + unknown


if __name__ == "__main__":
    main(sys.argv[1:])
