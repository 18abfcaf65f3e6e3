"""Makes batches for an encoder; reading.py says where samples come from.

They have these columns, by train.yaml's `task`:

- "sequence-classification": "text", and "label", a number from 0
- "token-classification": "tokens", the words of a text, and "labels", a number from 0 for each of them
- "masked-lm": "text"
- "contrastive": "anchor" and "positive", two texts that belong together

A column may hold token ids in place of a text or of words. Texts are cut at `sequence_length`, and padded where others
of their batch are longer; a batch without padding has no mask, as planned.
"""

from functools import cache
from typing import Any

import torch
from model import Run
from reading import read, tokenized
from transformers import AutoTokenizer

Sample = dict[str, Any]
COLUMNS = {
    "sequence-classification": ("text",),
    "token-classification": ("tokens",),
    "masked-lm": ("text",),
    "contrastive": ("anchor", "positive"),
}
UNLABELLED = -100
"""The label of tokens that no loss is computed of."""
HIDDEN = 0.15
"""Share of tokens that masked-lm predicts; of these, 80% are hidden, 10% changed and 10% left, as BERT was trained."""


def samples(data: str | None, run: Run, counted: int) -> list[Sample]:
    """Returns samples with token ids in place of texts; without data, for random weights, some that count upwards."""
    columns = COLUMNS[run.task]
    if data is None and run.config_file is not None:
        made = ((torch.arange(counted)[:, None] * 7 + torch.arange(run.sequence_length)) % 64).tolist()
        labels = [{"label": at % 2, "labels": [token % 2 for token in ids]} for at, ids in enumerate(made)]
        return [{**dict.fromkeys(columns, ids), **own} for ids, own in zip(made, labels, strict=True)]
    if data is None:
        what = " and ".join(columns)
        raise SystemExit(f"no data: --train_data, a file, a folder or the id of a dataset, with {what}")
    found: list[Sample] = read(data)
    if run.task == "token-classification":
        return [row if isinstance(row["tokens"][0], int) else split(row, run) for row in found]
    for column in columns:
        texts = [row[column] for row in found]
        if isinstance(texts[0], str):
            cut = {"truncation": True, "max_length": run.sequence_length}
            texts = list(tokenized(texts, run.model_name_or_path, **cut))
        found = [{**row, column: ids} for row, ids in zip(found, texts, strict=True)]
    return found


@cache
def tokenizer_of(name: str | None) -> Any:
    """Returns the tokenizer of a model."""
    return AutoTokenizer.from_pretrained(name, add_prefix_space=True)


def split(row: Sample, run: Run) -> Sample:
    """Returns a sample with the ids of its words; the first token of each word has its label, as in transformers."""
    made = tokenizer_of(run.model_name_or_path)(
        row["tokens"], is_split_into_words=True, truncation=True, max_length=run.sequence_length
    )
    words = made.word_ids()
    firsts = (word is not None and word != before for before, word in zip([None, *words], words, strict=False))
    labels = [row["labels"][word] if first else UNLABELLED for word, first in zip(words, firsts, strict=True)]
    return {**row, "tokens": made["input_ids"], "labels": labels}


def rows(found: list[Sample], run: Run) -> list[Sample]:
    """Returns the rows of batches: samples no longer than `sequence_length`."""
    columns = (*COLUMNS[run.task], *(("labels",) if run.task == "token-classification" else ()))
    cut = {column: slice(run.sequence_length) for column in columns}
    return [{**row, **{column: row[column][end] for column, end in cut.items()}} for row in found]


class Collator:
    """Makes a batch of rows; for pairs, one for each column."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.tokenizer = None if run.config_file else AutoTokenizer.from_pretrained(run.model_name_or_path)
        self.filler = getattr(self.tokenizer, "pad_token_id", None) or 0

    def __call__(self, batch: list[Sample]) -> dict[str, Any]:
        """Returns ids, a mask where one of them is padded, and labels where the task has some."""
        if self.run.task == "contrastive":
            return {column: self._padded([row[column] for row in batch]) for column in COLUMNS["contrastive"]}
        (column,) = COLUMNS[self.run.task]
        made = self._padded([row[column] for row in batch])
        if self.run.task == "token-classification":
            longest = made["input_ids"].shape[1]
            labels = [row["labels"] + [UNLABELLED] * (longest - len(row["labels"])) for row in batch]
            return {**made, "labels": torch.tensor(labels)}
        if self.run.task == "masked-lm":
            return {**made, **self._hidden(**made)}
        return {**made, "labels": torch.tensor([row["label"] for row in batch])}

    def _padded(self, ids: list[list[int]]) -> dict[str, torch.Tensor]:
        sizes = torch.tensor([len(row) for row in ids])
        longest = int(sizes.max())
        made = {"input_ids": torch.tensor([row + [self.filler] * (longest - len(row)) for row in ids])}
        if int(sizes.min()) < longest:
            made["attention_mask"] = (torch.arange(longest) < sizes[:, None]).long()
        return made

    def _hidden(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Returns ids with some of them hidden, and the hidden ones as labels."""
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if self.tokenizer is not None:
            special = torch.tensor(self.tokenizer.all_special_ids)
            real = real * ~torch.isin(input_ids, special)
        chosen = (torch.rand(input_ids.shape) < HIDDEN) & real.bool()
        lot = torch.rand(input_ids.shape)
        words = len(self.tokenizer) if self.tokenizer is not None else 64
        mask = getattr(self.tokenizer, "mask_token_id", None) or 0
        changed = torch.where(lot < 0.9, torch.randint_like(input_ids, words), input_ids)
        replaced = torch.where(lot < 0.8, mask, changed)
        return {"input_ids": torch.where(chosen, replaced, input_ids), "labels": input_ids.masked_fill(~chosen, -100)}
