"""Modules as a user might write them."""

import torch
from torch import nn


class Wide(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Mixing(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, 3, padding=1, groups=width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.mix(x.transpose(1, 2)).transpose(1, 2))


class TwoKinds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(500, 64)
        self.layers = nn.ModuleList(kind(64) for _ in range(6) for kind in (Wide, Mixing))
        self.head = nn.Linear(64, 500)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return nn.functional.cross_entropy(self.head(x).flatten(0, 1), targets.flatten())


class OfProducts(TwoKinds):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Wide(64) for _ in range(6))


class NoLoss(TwoKinds):
    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.embed(tokens)


def two_kinds() -> nn.Module:
    return TwoKinds()


def of_products() -> nn.Module:
    return OfProducts()


def no_loss() -> nn.Module:
    return NoLoss()


def broken() -> nn.Module:
    raise KeyError("width")


def no_module() -> int:
    return 7


def example_inputs(micro_batch_size: int, sequence_length: int) -> dict[str, torch.Tensor]:
    tokens = torch.zeros(micro_batch_size, sequence_length, dtype=torch.int64)
    return {"tokens": tokens, "targets": torch.zeros_like(tokens)}
