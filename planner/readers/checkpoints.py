"""Recognizes checkpoints that are quantized already, which their names say."""

from __future__ import annotations

import re

from planner.readers.documents.reading import Reading

_QUANTIZED = re.compile(
    r"(?<![a-z0-9])(awq|gptq|aqlm|hqq|eetq|exl2|exl3|gguf|fp8|nvfp4|mxfp4|int[248]|w[48]a(?:8|16)|(?:bnb[-_])?[2348]bit)(?![a-z0-9])"
)


def refuse_quantized(reading: Reading) -> None:
    """Refuses a model whose name says that its weights are quantized: files do not say how.

    Quantizing frameworks and their users write the format into the name: `-AWQ`, `-GPTQ-Int4`, `-bnb-4bit`, `-FP8`.
    """
    said = reading.said.get("model")
    if said is None or not isinstance(said.value, str):
        return
    name = said.value.rstrip("/").rpartition("/")[2].lower()
    found = _QUANTIZED.search(name)
    if found is not None:
        reading.refuse(f"a checkpoint that is quantized already: {found[1]}", said.place)
