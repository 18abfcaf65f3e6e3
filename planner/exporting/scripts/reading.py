"""Reads samples: a file of JSON, Parquet or plain text, a folder of such files, or a dataset on the Hub."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

AT_ONCE = 1000
"""Texts that are tokenized at once: as many as `datasets` gives its functions."""


def json_samples(file: Path) -> Iterator[dict[str, Any]]:
    """Yields a sample a line, or those of one list."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if line.lstrip().startswith("["):
                yield from json.loads(line + lines.read())
            elif line.strip():
                yield json.loads(line)


def parquet(file: Path) -> Iterator[dict[str, Any]]:
    """Yields a sample a row."""
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(file).iter_batches():
        yield from batch.to_pylist()


def text(file: Path) -> Iterator[dict[str, Any]]:
    """Yields the whole file as one sample."""
    yield {"text": file.read_text(encoding="utf-8")}


KINDS = {".jsonl": json_samples, ".json": json_samples, ".parquet": parquet, ".txt": text, ".md": text}


def read(data: str) -> list[dict[str, Any]]:
    """Returns the samples of a file, of all files below a folder, or of a dataset's part "train"."""
    path = Path(data)
    if not path.exists():
        from datasets import load_dataset

        return list(load_dataset(data, split="train"))
    files = sorted(file for file in path.rglob("*") if file.suffix in KINDS) if path.is_dir() else [path]
    found = [sample for file in files for sample in KINDS.get(file.suffix, json_samples)(file)]
    if not found:
        raise SystemExit(f"{data} has no samples; files may end in {' '.join(KINDS)}")
    return found


def tokenized(texts: list[str], model: str | None, **how: Any) -> Iterator[list[int]]:
    """Yields the token ids of texts by a model's tokenizer, many at once."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    for at in range(0, len(texts), AT_ONCE):
        yield from tokenizer(texts[at : at + AT_ONCE], **how)["input_ids"]
