"""Renders models: the registry in a table, or one model with its shape and its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from planner.models import Architecture, Foreign, Model
from planner.models.headed import Headed
from planner.report.parts.blocks import fields, notes
from planner.report.parts.format import count, grouped, percent, plural
from planner.report.parts.table import Column, shrunk, table_lines

_EXPENDABLE = ("Hugging Face id", "family", "vocabulary")
"""Columns that are left out where the terminal is narrow, one after the other."""
DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "encoder_layers", "decoder_layers", "num_decoder_layers")
WIDTHS = ("hidden_size", "d_model", "n_embd")
POSITIONS = ("max_position_embeddings", "n_positions")
"""What files of various model types call the number of layers (those of a decoder last), their width and positions."""


class ModelList(NamedTuple):
    """Draws a table of models."""

    models: Sequence[Model | Foreign]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        described = list(map(_row, self.models))
        columns = [
            Column("model", [row.name for row in described], style="bold"),
            Column("parameters", [row.parameters for row in described], right=True),
            Column("family", [row.family for row in described]),
            Column("layers", [row.layers for row in described], right=True),
            Column("hidden", [row.hidden for row in described], right=True),
            Column("vocabulary", [row.vocabulary for row in described], right=True),
            Column("context", [row.context for row in described], right=True),
            Column("Hugging Face id", [row.hf for row in described]),
        ]
        heading, rows = table_lines(shrunk(columns, _EXPENDABLE, options.max_width))
        yield heading
        yield from rows
        replayed = sum(isinstance(model, Foreign) for model in self.models)
        those = f" ({replayed} by replays)" if replayed else ""
        number = plural(len(self.models), "model")
        yield Text(f"  {number}{those}; a config.json or a size such as 7B will do, too", style="dim")


class _Row(NamedTuple):
    """Holds the texts of a model's cells."""

    name: str
    parameters: str
    family: str
    layers: str
    hidden: str
    vocabulary: str
    context: str
    hf: str


def _row(model: Model | Foreign) -> _Row:
    """Returns the texts of a model's cells."""
    if isinstance(model, Foreign):
        return _row_of_fields(model)
    shape = model.architecture
    return _Row(
        model.name,
        count(model.num_parameters),
        shape.model_type,
        _layers(shape),
        grouped(shape.hidden_size),
        _number(shape, "vocab_size"),
        _number(shape, "num_positions"),
        model.hf or "-",
    )


def _row_of_fields(model: Foreign) -> _Row:
    """Returns the texts of the cells of a model that is known by the fields of its config.json."""
    said = model.fields
    width, vocabulary, positions = (_said(said, names) for names in (WIDTHS, ("vocab_size",), POSITIONS))
    return _Row(
        model.name,
        "-" if model.num_parameters is None else count(model.num_parameters),
        said["model_type"],
        " + ".join(str(said[name]) for name in DEPTHS if name in said),
        width,
        vocabulary,
        positions,
        model.hf or "-",
    )


def _said(fields: Mapping[str, Any], names: Sequence[str]) -> str:
    """Returns the text of the first of the fields that a config.json has."""
    return next((grouped(fields[name]) for name in names if name in fields), "-")


def _number(shape: Architecture, name: str) -> str:
    """Returns the text of a field that not every architecture has."""
    value: int | None = getattr(shape, name, None)
    return "-" if value is None else grouped(value)


def _layers(shape: Architecture) -> str:
    """Returns the number of layers, those of an encoder and of a decoder apart."""
    decoder: int | None = getattr(shape, "num_decoder_layers", None)
    return str(shape.num_hidden_layers) if decoder is None else f"{shape.num_hidden_layers} + {decoder}"


class ModelCard(NamedTuple):
    """Draws one model."""

    model: Model

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.model.name, style="bold")
        yield from fields(list(self._rows()))
        yield ""
        yield from self._account()
        yield from notes(self.model.notes)

    def _rows(self) -> Iterator[tuple[str, str]]:
        model, shape = self.model, self.model.architecture
        about = "a stand-in of this size" if model.approximate else "exact"
        yield "parameters", f"{count(model.num_parameters)} ({grouped(model.num_parameters)}, {about})"
        if model.hf:
            yield "Hugging Face id", model.hf
        if model.aliases:
            yield "also called", ", ".join(model.aliases)
        yield "family", shape.model_type
        if isinstance(shape, Headed):
            yield "training class", shape.architectures[0]
        yield "layers", _layers(shape)
        yield "hidden size", grouped(shape.hidden_size)
        yield "heads", self._heads()
        if shape.tokens_per_sample is not None:
            yield "a sample", f"an image, {shape.tokens_per_sample} tokens"
        else:
            head = (
                "a classifier"
                if shape.objective == "each_sample"
                else f"{'tied' if shape.tied_to else 'separate'} head"
            )
            yield "vocabulary", f"{_number(shape, 'vocab_size')}, {head}"
            yield "context", f"{_number(shape, 'num_positions')} tokens, {shape.positions} positions"
        yield "LoRA targets", ", ".join(model.inventory.target_names)

    def _heads(self) -> str:
        shape = self.model.architecture
        groups = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
        shared = f", {groups} for keys and values" if groups != shape.num_attention_heads else ""
        return f"{shape.num_attention_heads}{shared}"

    def _account(self) -> Iterator[Text]:
        inventory = self.model.inventory
        blocks = sum(inventory.blocks[kind].num_parameters for kind in inventory.layer_kinds)
        head = "final norm" if self.model.architecture.tied_to else "final norm and head"
        parts = [
            ("embeddings", inventory.stem.num_parameters),
            (plural(len(inventory.layer_kinds), "block"), blocks),
            (head, inventory.head.num_parameters),
        ]
        total = inventory.num_parameters
        heading, rows = table_lines(
            [
                Column("where they are", [*(name for name, _ in parts), "sum"]),
                Column("parameters", [grouped(number) for number in (*(n for _, n in parts), total)], right=True),
                Column("share", [percent(number / total) for number in (*(n for _, n in parts), total)], right=True),
            ]
        )
        yield heading
        rows[-1].stylize("bold")
        yield from rows


class ReplayedCard(NamedTuple):
    """Draws one model of the registry that no family describes."""

    model: Foreign

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.model.name, style="bold")
        yield from fields(list(self._rows()))
        yield from notes((*self.model.notes, "planned by replays of transformers' code: the first answer takes longer"))

    def _rows(self) -> Iterator[tuple[str, str]]:
        model, row = self.model, _row_of_fields(self.model)
        yield "parameters", f"{row.parameters} ({grouped(model.num_parameters or 0)}, exact)"
        yield "Hugging Face id", row.hf
        if model.aliases:
            yield "also called", ", ".join(model.aliases)
        yield "family", row.family
        yield "layers", row.layers
        yield "hidden size", row.hidden
        yield "vocabulary", row.vocabulary
        if row.context != "-":
            yield "context", f"{row.context} tokens"
