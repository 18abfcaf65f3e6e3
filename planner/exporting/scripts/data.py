"""Makes batches of token ids: out of JSON lines with "text" or "input_ids", or of a dataset's column "text"."""

import json
from pathlib import Path

import torch
from model import Run
from transformers import AutoTokenizer


def samples(data: str | None, run: Run, counted: int) -> list[list[int]]:
    """Returns the token ids of each sample; without data, for random weights, so many samples that count upwards."""
    if data is None and run.config_file is not None:
        made = ((torch.arange(counted)[:, None] * 7 + torch.arange(run.sequence_length)) % 64).tolist()
        half = run.sequence_length // 2  # to have some padding, or rows of two samples
        shorter = {"full": [], "padded": range(0, counted, 2), "packed": range(counted)}[run.batching]
        return [sample[:half] if at in shorter else sample for at, sample in enumerate(made)]
    if data is None:
        raise SystemExit("no data: --train_data FILE, JSON lines with text or input_ids, or the id of a dataset")
    if Path(data).exists():
        found = [json.loads(line) for line in Path(data).read_text().splitlines() if line.strip()]
    else:
        from datasets import load_dataset

        found = list(load_dataset(data, split="train"))
    if found and "input_ids" in found[0]:
        return [list(row["input_ids"]) for row in found]
    tokenizer = AutoTokenizer.from_pretrained(run.model_name_or_path)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return [tokenizer(row["text"])["input_ids"] + end for row in found]


def rows(found: list[list[int]], run: Run) -> list[dict[str, list[int]]]:
    """Makes the rows of batches out of samples, as `batching` says; they are no longer than `sequence_length`."""
    length = run.sequence_length
    if run.batching == "full":
        joined = [token for sample in found for token in sample]
        return [{"input_ids": joined[at : at + length]} for at in range(0, len(joined) - length + 1, length)]
    found = [sample[:length] for sample in found]
    if run.batching == "padded":
        return [{"input_ids": sample} for sample in found]
    packed: list[list[list[int]]] = [[]]
    for sample in found:
        if sum(map(len, packed[-1])) + len(sample) > length:
            packed.append([])
        packed[-1].append(sample)
    return [
        {
            "input_ids": [token for sample in row for token in sample],
            "position_ids": [at for sample in row for at in range(len(sample))],
        }
        for row in packed
    ]


class Collator:
    """Makes a batch: rows of one length stay as they are, others are padded at their ends."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __call__(self, batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """Returns ids and labels, with a mask where samples are padded, and positions where they are packed."""
        sizes = [len(row["input_ids"]) for row in batch]
        longest = self.run.sequence_length if self.run.batching == "packed" else max(sizes)
        ids = torch.tensor([row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in batch])
        real = torch.arange(longest) < torch.tensor(sizes)[:, None]
        made = {"input_ids": ids, "labels": ids.masked_fill(~real, -100)}
        if self.run.batching == "padded":
            made["attention_mask"] = real.long()
        if self.run.batching == "packed":
            positions = [[*row["position_ids"], *range(longest - len(row["input_ids"]))] for row in batch]
            made["position_ids"] = torch.tensor(positions)
            made["labels"] = made["labels"].masked_fill(made["position_ids"] == 0, -100)
        return made
