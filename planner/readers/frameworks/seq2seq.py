"""Reads arguments of transformers' example scripts that train an encoder-decoder to summarize or translate.

Source of defaults: transformers 5.24, examples/pytorch/summarization/run_summarization.py and translation/
run_translation.py, which differ in what they call columns and languages.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.table import words
from planner.readers.frameworks import training_arguments
from planner.readers.frameworks.spelling import SEQ2SEQ
from planner.readers.run import Run
from strategies import Batching, Task

_SOURCE = "transformers 5.24, run_summarization.py"
_CHECKPOINT = "fp32"
"""The dtype of T5's, mT5's and BART's weights on the Hub."""
_SIGNS = words("max_source_length max_target_length val_max_target_length")

TABLE = training_arguments.TABLE._replace(
    decides={
        **training_arguments.TABLE.decides,
        "max_source_length": "sequence_length",
        "max_target_length": "target_length",
        "val_max_target_length": "target_length of evaluations",
    },
    left_out={
        **training_arguments.TABLE.left_out,
        "predict_with_generate": "an evaluation that generates, with keys and values of all tokens",
    },
    idle=training_arguments.TABLE.idle - {"predict_with_generate"}
    | words("""generation_max_length generation_num_beams generation_config num_beams pad_to_max_length source_prefix
            source_lang target_lang text_column summary_column ignore_pad_token_for_loss forced_bos_token lang
            max_predict_samples test_file resize_position_embeddings"""),
)


def read(keys: Keys, run: Run) -> None:
    """Says what a run of one of the scripts does."""
    training_arguments.read_of(keys, run, _CHECKPOINT)
    reading = keys.reading
    reading.say("task", Task.SEQ2SEQ_LM, why="its script trains an encoder-decoder")
    keys.say_whole("sequence_length", "max_source_length", otherwise=1024, why=_SOURCE)
    target = keys.say_whole("target_length", "max_target_length", otherwise=128, why=_SOURCE)
    reading.say("batching", Batching.FULL, why="planned as full: sources and targets that are cut, and no shorter ones")
    evaluated = keys.whole("val_max_target_length")
    if evaluated not in (None, target) and reading.value("evaluation_batch_size") is not None:
        reading.leave_out(f"evaluations of targets of {evaluated:,} tokens", keys.place("val_max_target_length"))


READER = training_arguments.SCRIPT._replace(table=TABLE, signs=_SIGNS, read=read, spelling=SEQ2SEQ)
