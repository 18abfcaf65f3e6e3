"""What all architectures share: the fields of config.json that every one has, and the parts that a model is run in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from planner.models.forward import Forward, T

Size = Annotated[int, Field(gt=0, le=2**24, strict=True)]
Layers = Annotated[int, Field(gt=0, le=2**10, strict=True)]
"""The largest models have 126. A plan takes time with each: with so many it is seconds, in the worst family half a
minute."""
Probability = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]

Positions = Literal["rotary", "learned", "relative", "alibi"]
"""Learned positions end at `max_position_embeddings`; others can be extrapolated."""

Masking = Literal["causal", "always", "alibi", "beside_alibi", "booleans"]
"""What a model makes before its blocks: a mask where one is needed; one for SDPA as well (Falcon); one with ALiBi in
it, for each head (Falcon); ALiBi beside a mask (BLOOM); a mask of booleans (MPT)."""

Objective = Literal["next_token", "each_token", "each_sample"]
"""What the loss compares logits with: labels shifted by one (causal language models), labels as they are (masked and
sequence-to-sequence ones), or one label for each sample (classification)."""

INT64 = 8


class Architecture(BaseModel):
    """A config.json: the fields that decide sizes, named as there. Unknown keys are ignored, as transformers does.

    A family writes `stem`, `block` and `head` as transformers' modeling file does, line by line: local variables decide
    which tensors stay alive.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    classes: ClassVar[tuple[str, ...]]
    """How the names of the training classes end that a family describes; a file's `architectures` names one."""

    positions: ClassVar[Positions] = "rotary"

    supports_sdpa: ClassVar[bool] = True
    """Where it is False (`_supports_sdpa` of the modeling file), transformers refuses SDPA and runs eager attention."""

    supports_flash: ClassVar[bool] = True
    """Of `_supports_flash_attn` the same."""

    supports_flex: ClassVar[bool] = True
    """Of `_supports_flex_attn` the same."""

    packs: ClassVar[bool] = True
    """Whether its mask keeps samples apart whose positions begin anew in a sequence."""

    linear_class: ClassVar[str] = "Linear"
    """Of the blocks' linear layers. What looks for torch.nn.Linear does not find GPT-2's Conv1D."""

    quantizes_experts: ClassVar[bool] = False
    """Whether a base of bitsandbytes' has other modules: transformers takes the experts apart into linear layers
    (quantizers/base.py, `MODULES_TO_PATCH_FOR_QUANTIZATION`). Their forward is not described here: no QLoRA then."""

    num_masks: ClassVar[int] = 1
    """Causal masks that eager attention makes: one for each kind of window."""

    masking: ClassVar[Masking] = "causal"

    returns_probabilities: ClassVar[bool] = False
    """Whether its blocks return those of eager attention, which the model's body keeps until the next has returned."""

    positional: ClassVar[frozenset[str]] = frozenset()
    """What blocks share and are called with by position, no leaf of autograd's: `torch.utils.checkpoint` saves it for
    each of them, and so `save_on_cpu` takes it to the host."""

    notes: ClassVar[tuple[str, ...]] = ()
    """What a user should know about loading or training any model of the family."""

    adapter_notes: ClassVar[tuple[str, ...]] = ()
    """The same about LoRA."""

    embedding_name: ClassVar[str] = "embed_tokens"

    head_is_unit: ClassVar[bool] = True
    """Whether accelerate makes its final norm and head an FSDP2 unit (`fsdp2_prepare_model`); the root's otherwise."""

    model_type: str
    hidden_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    tie_word_embeddings: bool = False

    @classmethod
    def describes(cls, fields: Mapping[str, Any]) -> bool:
        """Whether a file of this model type is of a model that the family writes out; others are known by replays."""
        return True

    def config(self) -> dict[str, Any]:
        """The fields as a config.json spells them: what transformers' configuration class takes."""
        described = type(self).model_fields
        given = self.model_dump(mode="json").items()
        fields = {name: value for name, value in given if value is not None or described[name].default is not None}
        for name, field in described.items():
            if isinstance(field.validation_alias, AliasChoices) and name in fields:
                fields[str(field.validation_alias.choices[0])] = fields.pop(name)
        return fields

    @property
    def objective(self) -> Objective:
        return "next_token"

    @property
    def window(self) -> int | None:
        """The sliding window of its layers, or of those that have one."""
        return getattr(self, "sliding_window", None)

    @property
    def tied_to(self) -> str | None:
        """The embedding whose weight the language-model head shares."""
        return self.embedding_name if self.tie_word_embeddings else None

    @property
    def embeds_again(self) -> int | None:
        """The layer that looks up the token embedding of the stem a second time, which a decoder's tokens do."""
        return None

    @property
    def num_positions(self) -> int | None:
        """Tokens that it was trained with, where there is a limit."""
        return getattr(self, "max_position_embeddings", None)

    @property
    def tokens_per_sample(self) -> int | None:
        """Of a model whose samples all have one length, as images have."""
        return None

    def batch_bytes(self, sequence_length: int) -> int:
        """Of what a training loop feeds for one sample: ids and labels of its tokens."""
        return 2 * sequence_length * INT64

    def layer_kinds(self) -> tuple[Hashable, ...]:
        """One entry per layer; layers with equal entries are alike in every byte."""
        return ("block",) * self.num_hidden_layers

    def is_block(self, kind: Hashable) -> bool:
        """Whether a layer is one of transformers' blocks, which can be checkpointed."""
        return True

    def stem(self, f: Forward[T]) -> T:
        """Input ids to the first block's input."""
        raise NotImplementedError

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        raise NotImplementedError

    def head(self, f: Forward[T], x: T) -> T:
        """The last block's output to logits."""
        raise NotImplementedError


class Headed(Architecture):
    """An architecture whose training class a file has to name: the model type alone does not tell the head."""

    architectures: tuple[str, ...]
    """Its training class is the first."""
    num_labels: Size = 2
    """Of a classifier."""

    @model_validator(mode="before")
    @classmethod
    def _as_saved(cls, fields: Any) -> Any:
        """transformers saves `null` where no class is known, and names of labels instead of their number."""
        if not isinstance(fields, Mapping):
            return fields
        names = fields.get("id2label")
        counted = {"num_labels": len(names)} if isinstance(names, Mapping) and names else {}
        return counted | {k: v for k, v in fields.items() if k != "architectures" or v}

    @model_validator(mode="after")
    def _heads_divide(self) -> Headed:
        if getattr(self, "d_kv", None) is None and self.hidden_size % self.num_attention_heads:
            heads = self.num_attention_heads
            raise ValueError(f"hidden_size ({self.hidden_size}) is not a multiple of num_attention_heads ({heads})")
        return self
