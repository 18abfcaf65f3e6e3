"""Finds the reader of a file: the one whose telling keys it has."""

from __future__ import annotations

from collections.abc import Sequence

from hardware.errors import PlannerError
from planner.readers.documents.misspelt import misspelt
from planner.readers.documents.source import Source
from planner.readers.documents.table import words
from planner.readers.reader import Reader

MODEL = "model_name_or_path"
"""Argument that names the model of a script of transformers or TRL."""
MODELS = (MODEL, "model_name", "model_path", "model_id")
"""Arguments by which scripts of users' own call it."""
TRAINS = words(
    """
    deepspeed fsdp num_train_epochs max_steps learning_rate lr_scheduler_type warmup_ratio warmup_steps weight_decay
    do_train save_strategy gradient_accumulation_steps gradient_checkpointing per_device_train_batch_size
    """
)
"""TrainingArguments by which a script of unknown name that is given a model trains it, and does not only run it."""


class UnknownFileError(PlannerError):
    """Reports a file that is of no program whose files are read."""


def reader_of(source: Source, readers: Sequence[Reader]) -> Reader:
    """Returns the first reader whose file a source is; raises UnknownFileError if there is none."""
    for reader in readers:
        mine = source.program == reader.name or (not source.program and reader.recognizes(source.data))
        if mine and (not source.script or reader.is_of_script(source.script)):
            return reader
    if source.script and not source.data.keys().isdisjoint(MODELS) and not TRAINS.isdisjoint(source.data):
        return readers[-1]
    if source.script:
        raise UnknownFileError(
            f"{source.file}: {source.script} is of no framework that is read, and nothing says what its flags mean",
            "planner estimate plans what its code says; read are flags of transformers' Trainer, --model_name_or_path",
        )
    names = ", ".join(dict.fromkeys(reader.name for reader in readers))
    signs = {sign for reader in readers for sign in reader.signs}
    meant = [(key, *near) for key in source.data if (near := misspelt(str(key), signs))]
    hint = f"did you mean {meant[0][1]} by {meant[0][0]}? " if meant else ""
    raise UnknownFileError(f"{source.file} is of no framework that is read", f"{hint}read are files of {names}")


def reader_of_arguments(source: Source, readers: Sequence[Reader]) -> Reader:
    """Returns the reader of arguments that are given on the command line, without a file.

    Many programs take those of Trainer: it is one of them only if one of its own is among them.
    """
    found, trainer = reader_of(source, readers), readers[-1]
    own = any(key in found.table.decides and key not in trainer.table.decides for key in source.data)
    return found if own else trainer
