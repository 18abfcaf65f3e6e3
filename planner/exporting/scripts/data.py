"""Makes batches of token ids, out of samples with a column "text" or "input_ids"; reading.py says where from."""

from array import array

import torch
from model import Run
from reading import read, tokenized
from transformers import AutoTokenizer

Ids = array
"""Token ids in four bytes each."""


def samples(data: str | None, run: Run, counted: int) -> list[Ids]:
    """Returns the token ids of each sample; without data, for random weights, so many samples that count upwards."""
    if data is None and run.config_file is not None:
        made = ((torch.arange(counted)[:, None] * 7 + torch.arange(run.sequence_length)) % 64).tolist()
        half = run.sequence_length // 2  # to have some padding, or rows of two samples
        shorter = {"full": [], "padded": range(0, counted, 2), "packed": range(counted)}[run.batching]
        return [array("i", sample[:half] if at in shorter else sample) for at, sample in enumerate(made)]
    if data is None:
        raise SystemExit("no data: --train_data, a file, a folder or the id of a dataset, with text or input_ids")
    found = read(data)
    if "input_ids" in found[0]:
        return [array("i", row["input_ids"]) for row in found]
    last = AutoTokenizer.from_pretrained(run.model_name_or_path).eos_token_id
    end = [] if last is None else [last]
    return [array("i", ids + end) for ids in tokenized([row["text"] for row in found], run.model_name_or_path)]


def rows(found: list[Ids], run: Run) -> list[dict[str, Ids]]:
    """Makes the rows of batches out of samples, as `batching` says; they are no longer than `sequence_length`."""
    length = run.sequence_length
    if run.batching == "full":
        joined = array("i", (token for sample in found for token in sample))
        return [{"input_ids": joined[at : at + length]} for at in range(0, len(joined) - length + 1, length)]
    found = [sample[:length] for sample in found]
    if run.batching == "padded":
        return [{"input_ids": sample} for sample in found]
    packed: list[list[Ids]] = [[]]
    for sample in found:
        if sum(map(len, packed[-1])) + len(sample) > length:
            packed.append([])
        packed[-1].append(sample)
    return [
        {
            "input_ids": array("i", (token for sample in row for token in sample)),
            "position_ids": array("i", (at for sample in row for at in range(len(sample)))),
        }
        for row in packed
    ]


class Collator:
    """Makes a batch: rows of one length stay as they are, others are padded at their ends."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __call__(self, batch: list[dict[str, Ids]]) -> dict[str, torch.Tensor]:
        """Returns ids and labels, with a mask where samples are padded, and positions where they are packed."""
        sizes = [len(row["input_ids"]) for row in batch]
        longest = self.run.sequence_length if self.run.batching == "packed" else max(sizes)
        ids = torch.tensor([[*row["input_ids"], *[0] * (longest - len(row["input_ids"]))] for row in batch])
        real = torch.arange(longest) < torch.tensor(sizes)[:, None]
        made = {"input_ids": ids, "labels": ids.masked_fill(~real, -100)}
        if self.run.batching == "padded":
            made["attention_mask"] = real.long()
        if self.run.batching == "packed":
            positions = [[*row["position_ids"], *range(longest - len(row["input_ids"]))] for row in batch]
            made["position_ids"] = torch.tensor(positions)
            made["labels"] = made["labels"].masked_fill(made["position_ids"] == 0, -100)
        return made
