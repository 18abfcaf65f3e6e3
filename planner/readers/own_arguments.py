"""Refuses what a script of no known program makes of arguments that change what trains, and that Trainer has not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from planner.readers.documents.reading import Place, Reading

_TRAINS = re.compile(
    "lora|dora|peft|adapter|rank$|target_mod|quant|bits|freeze|prompt_tun|p_tuning|prefix|pre_seq|virtual"
    "|reward|ref_|distill|teacher|parallel|chunk|pack|fsdp|zero_stage"
)
"""What names of arguments have in them that change what trains, or how."""
_METHOD = re.compile("[a-z_]*(lora|dora|peft|galore|freeze)[a-z_]*")
"""Values that say so, whatever their argument is called: `--train_type qlora`."""
_LENGTH = re.compile("(^|_)(len|length|seqlen|ctx|context|tokens)($|_)")
_BATCH = re.compile("batch|bsz|(^|_)bs($|_)")
_ELSEWHERE = re.compile("eval|val|test|pred|gen|data|num_|prompt|log|save|min_|group|worker")
"""What names have that speak of other batches and lengths than those of a training step."""


def refuse_own(reading: Reading, script: str, unknown: Mapping[Place, Any], length: str, batch: str) -> None:
    """Refuses the arguments of a script that decide memory in a way that only its code says.

    Args:
        reading: What is read so far.
        script: Name of the script.
        unknown: The arguments that nobody reads, and their values.
        length: Argument that says how long sequences are, with which the reader would know it.
        batch: The one that says the micro-batch.
    """
    refused = {each.place for each in reading.refused}
    trains = (
        place
        for place, value in unknown.items()
        if _TRAINS.search(place.key.lower()) or _METHOD.fullmatch(str(value).lower())
    )
    own = [place for place in trains if place not in refused]
    if own:
        reading.refuse(f"what {script} makes of {', '.join(place.key for place in own)}", own[0])
    for word, pattern, key in (("sequence_length", _LENGTH, length), ("micro_batch_size", _BATCH, batch)):
        said = reading.said.get(word)
        if said is not None and said.place is not None:
            continue
        for place in unknown:
            name = place.key.lower()
            if place not in own and pattern.search(name) and not _ELSEWHERE.search(name):
                reading.refuse(f"what {script} makes of {place.key}: -- {key}=N says it", place)
