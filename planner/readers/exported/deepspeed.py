"""Reads the train.yaml of `planner export --to deepspeed`, a loop of DeepSpeed's engine, with the JSON that it names.

Source of defaults: exporting/scripts/train_deepspeed.py, `Training`; the JSON goes to DeepSpeed 0.19 as it is.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.table import Table
from planner.readers.exported.loop import (
    LOOP,
    LOOP_IDLE,
    OPTIMIZERS,
    liger_place,
    read_checkpointing,
    read_evaluation,
    read_optimizer,
)
from planner.readers.exported.run import read_dtypes, read_kernels, read_model, read_rows
from planner.readers.exported.spelling import DEEPSPEED
from planner.readers.exported.table import RUN, RUN_IDLE
from planner.readers.reader import Reader, Role
from planner.readers.run import Run

TABLE = Table(
    decides={**RUN, **LOOP, "deepspeed_config": "all that the JSON says"},
    strict=True,
    idle=RUN_IDLE | LOOP_IDLE,
)


def read(keys: Keys, run: Run) -> None:
    """Says what train.py does."""
    reading, place = keys.reading, keys.place("deepspeed_config")
    read_model(keys, run)
    # train.py looks for it beside itself, and beside train.yaml.
    run.refer(str(run.beside(place, keys.word("deepspeed_config") or "deepspeed.json")), place)
    for value, at in run.entries().values():
        if value == "auto" and at.file != keys.source.file:
            reading.refuse('"auto", which transformers fills in and DeepSpeed itself does not know', at)
    if "deepspeed optimizer" in reading.said:
        of_json = reading.said.pop("deepspeed optimizer")
        reading.refuse("an optimizer of the JSON beside the one that train.py makes", of_json.place)
    half = next((half for half in ("bf16", "fp16") if reading.value(f"deepspeed {half}")), None)
    by = reading.said.get(f"deepspeed {half}")
    read_dtypes(keys, half, by and by.place)
    rows = reading.said.get("deepspeed micro_batch_size")
    steps = reading.said.get("deepspeed gradient_accumulation_steps")
    if rows is None:
        reading.refuse("train_micro_batch_size_per_gpu is not said, which train.py reads in the JSON", place)
    else:
        reading.said["micro_batch_size"] = rows
    if steps is None:
        reading.say("gradient_accumulation_steps", 1, why="train.py")
    else:
        reading.said["gradient_accumulation_steps"] = steps
    read_rows(keys)
    read_optimizer(keys, OPTIMIZERS)
    read_checkpointing(keys)
    read_kernels(keys, "liger", liger_place(keys), otherwise=False)
    read_evaluation(keys)


READER = Reader(
    "deepspeed's loop",
    "DeepSpeed 0.19",
    Role.RECIPE,
    TABLE,
    frozenset({"deepspeed_config"}),
    read,
    spelling=DEEPSPEED,
    expands_from=1,  # run.sh, which is exported with it
)
