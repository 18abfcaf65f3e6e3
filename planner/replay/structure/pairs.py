"""Runs contrastive training as sentence-transformers does: it embeds two columns of texts and ranks them.

Source: sentence-transformers 6.2, base/modules/transformer.py, sentence_transformer/modules/pooling.py,
sentence_transformer/losses/multiple_negatives_ranking.py and util/similarity.py, with their defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from planner.replay.structure.source import base_of
from strategies import Task

Features = dict[str, Any]
SCALE = 20.0
"""The default of `MultipleNegativesRankingLoss`; it decides no size."""


def forward_of(model: Any, called: Any, cast: Callable[[Any], Any]) -> Any:
    """Returns what a step calls with its inputs: the model, or for pairs of texts a forward that returns their loss.

    Pairs train a model that returns hidden states alone.

    Args:
        model: The model, PEFT's wrapper included.
        called: The same as a training step calls it.
        cast: Wraps what has a forward in autocast, where there is one.
    """
    base = base_of(model)
    takes_text = getattr(base, "main_input_name", None) == "input_ids"
    if not takes_text or Task.of_class(type(base).__name__) is not Task.CONTRASTIVE:
        return cast(called)
    return ranked(cast(Sentences(called, getattr(model.config, "pooling_mode", "mean"))))


class Sentences:
    """Embeds sentences: the model, and a pooling of its tokens.

    Args:
        model: The model as a training step calls it.
        mode: How tokens are pooled: `mean` or `cls`.
    """

    def __init__(self, model: Callable[..., Any], mode: str) -> None:
        self.model, self.mode = model, mode

    def forward(self, features: Features) -> Features:
        """Adds the embeddings of tokens and of sentences to the features of a column."""
        self._transform(features)
        features["sentence_embedding"] = torch.cat([self._pooled(features["token_embeddings"])], dim=-1)
        return features

    __call__ = forward

    def _transform(self, features: Features) -> None:
        output = self.model(input_ids=features["input_ids"])
        features["token_embeddings"] = output[0]

    def _pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        attended = torch.ones(tokens.shape[:-1], device=tokens.device, dtype=torch.int64)
        if self.mode == "cls":
            return tokens[:, 0].clone()  # `torch.gather`, whose backward on fake tensors makes one tensor more
        widest = torch.float32 if tokens.dtype in (torch.float16, torch.bfloat16) else tokens.dtype
        mask = attended.unsqueeze(-1).to(tokens.dtype)
        total = (tokens * mask).sum(dim=1, dtype=widest)
        number = torch.clamp(mask.sum(dim=1, dtype=widest), min=1e-9)
        return (total / number).to(tokens.dtype)


def ranked(embed: Callable[[Features], Features]) -> Callable[..., dict[str, torch.Tensor]]:
    """Returns the step's forward: it takes the ids of both columns and returns the loss.

    Args:
        embed: Embeds the sentences of a column, in autocast where there is one.
    """

    def forward(anchor: torch.Tensor, positive: torch.Tensor) -> dict[str, torch.Tensor]:
        columns: list[Features] = [{"input_ids": anchor}, {"input_ids": positive}]  # alive until the loss is there
        return {"loss": _loss([embed(column)["sentence_embedding"] for column in columns])}

    return forward


def _loss(embeddings: list[torch.Tensor]) -> torch.Tensor:
    """Returns the mean, over anchors, of the negative log-likelihood of their own texts among all of the batch."""
    anchors, texts = embeddings[0], torch.cat(embeddings[1:], dim=0)
    rows = torch.arange(anchors.size(0), device=anchors.device)
    queries, _documents = anchors[rows], embeddings[1][rows]
    scores = {"query_to_doc": _similarities(queries, texts)}
    scores["query_to_doc"] = scores["query_to_doc"] * SCALE
    own = scores["query_to_doc"][rows, rows]
    likelihoods = torch.logsumexp(torch.cat(list(scores.values()), dim=1), dim=1)
    return -(own - likelihoods).mean()


def _similarities(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = (functional.normalize(x.float(), p=2, dim=-1) for x in (a, b))
    return torch.mm(a, b.transpose(0, 1)).to_dense()
