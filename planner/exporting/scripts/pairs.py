"""Trains embeddings of texts as sentence-transformers does: a pooling of tokens, and MultipleNegativesRankingLoss."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Trainer

SCALE = 20.0
"""By which similarities are multiplied: the default of MultipleNegativesRankingLoss."""


class Sentences(nn.Module):
    """Embeds texts: a model without a head, and the pooling of its tokens, `mean` or `cls`."""

    accepts_loss_kwargs = False  # so that Trainer divides the loss by the accumulation

    def __init__(self, model: Any, pooling: str) -> None:
        super().__init__()
        self.model, self.pooling = model, pooling

    def __getattr__(self, name: str) -> Any:
        """Returns what the model has, such as `config`, which Trainer asks for."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Returns the embeddings of tokens and of texts."""
        tokens = self.model(input_ids=input_ids, attention_mask=attention_mask)[0]
        if self.pooling == "cls":
            return {"token_embeddings": tokens, "sentence_embedding": tokens[:, 0].clone()}
        attended = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        mask = attended.unsqueeze(-1).to(tokens.dtype)
        widest = torch.float32 if tokens.dtype in (torch.float16, torch.bfloat16) else tokens.dtype
        total = (tokens * mask).sum(dim=1, dtype=widest)
        number = mask.sum(dim=1, dtype=widest).clamp(min=1e-9)
        return {"token_embeddings": tokens, "sentence_embedding": (total / number).to(tokens.dtype)}


def ranking_loss(anchors: torch.Tensor, positives: torch.Tensor) -> torch.Tensor:
    """Returns the cross-entropy of each anchor's own text among all texts of the micro-batch."""
    a, b = (functional.normalize(x.float(), dim=-1) for x in (anchors, positives))
    return functional.cross_entropy(a @ b.T * SCALE, torch.arange(len(a), device=a.device))


class PairsTrainer(Trainer):
    """Calls the model once for each column of a batch."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """Returns the loss of a batch of pairs; its negatives are in its micro-batch."""
        outputs = [model(**inputs[column]) for column in ("anchor", "positive")]
        loss = ranking_loss(*(found["sentence_embedding"] for found in outputs))
        return (loss, outputs) if return_outputs else loss

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, None, None]:
        """Returns the loss of pairs that are held out, without their embeddings."""
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Writes the model without its pooling, as transformers and sentence-transformers read it."""
        if _internal_call:  # a checkpoint, from which Trainer resumes
            super().save_model(output_dir, _internal_call)
        elif self.is_world_process_zero():
            self.accelerator.unwrap_model(self.model).model.save_pretrained(output_dir or self.args.output_dir)
