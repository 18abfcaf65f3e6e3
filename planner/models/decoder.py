"""What all decoder-only language models share: the fields of config.json and the shape of a model."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, model_validator

from planner.models.forward import Forward, T

Size = Annotated[int, Field(gt=0, le=2**24, strict=True)]
Layers = Annotated[int, Field(gt=0, le=2**12, strict=True)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]

Masking = Literal["causal", "always", "alibi", "beside_alibi", "booleans"]
"""What a model makes before its blocks: a mask where one is needed; one for SDPA as well (Falcon); one with ALiBi in
it, for each head (Falcon); ALiBi beside a mask (BLOOM); a mask of booleans (MPT)."""


def partial_rotary_factor(default: float) -> Any:
    """The field, which stands alone or among the parameters of the rotation."""
    path = AliasPath("rope_parameters", "partial_rotary_factor")
    return Field(default, validation_alias=AliasChoices("partial_rotary_factor", path))


class Decoder(BaseModel):
    """A config.json: the fields that decide sizes, named as there. Unknown keys are ignored, as transformers does.

    A family writes `stem`, `block` and `head` as transformers' modeling file does, line by line: local variables decide
    which tensors stay alive.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    positions: ClassVar[Literal["rotary", "learned", "alibi"]] = "rotary"
    """Learned positions end at `max_position_embeddings`; rotary ones and ALiBi can be extrapolated."""

    supports_sdpa: ClassVar[bool] = True
    """Where it is False (`_supports_sdpa` of the modeling file), transformers refuses SDPA and runs eager attention."""

    quantizes_experts: ClassVar[bool] = False
    """Whether a base of bitsandbytes' has other modules: transformers takes the experts apart into linear layers
    (quantizers/base.py, `MODULES_TO_PATCH_FOR_QUANTIZATION`). Their forward is not described here: no QLoRA then."""

    num_masks: ClassVar[int] = 1
    """Causal masks that eager attention makes: one for each kind of window."""

    masking: ClassVar[Masking] = "causal"

    returns_probabilities: ClassVar[bool] = False
    """Whether its blocks return those of eager attention, which the model's body keeps until the next has returned."""

    notes: ClassVar[tuple[str, ...]] = ()
    """What a user should know about loading or training any model of the family."""

    adapter_notes: ClassVar[tuple[str, ...]] = ()
    """The same about LoRA."""

    embedding_name: ClassVar[str] = "embed_tokens"

    model_type: str
    hidden_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    vocab_size: Size
    max_position_embeddings: Size
    tie_word_embeddings: bool = False

    @model_validator(mode="after")
    def _heads_divide(self) -> Decoder:
        heads, kv_heads = self.num_attention_heads, getattr(self, "num_key_value_heads", None)
        if kv_heads and heads % kv_heads:
            raise ValueError(f"num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kv_heads})")
        if not getattr(self, "head_dim", None) and self.hidden_size % heads:
            raise ValueError(f"hidden_size ({self.hidden_size}) is not a multiple of num_attention_heads ({heads})")
        return self

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
    def window(self) -> int | None:
        """The sliding window of its layers, or of those that have one."""
        return getattr(self, "sliding_window", None)

    @property
    def tied_to(self) -> str | None:
        """The embedding whose weight the language-model head shares."""
        return self.embedding_name if self.tie_word_embeddings else None

    def layer_kinds(self) -> tuple[Hashable, ...]:
        """One entry per layer; layers with equal entries are alike in every byte."""
        return ("block",) * self.num_hidden_layers

    def stem(self, f: Forward[T]) -> T:
        """Input ids to the first block's input."""
        raise NotImplementedError

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        raise NotImplementedError

    def head(self, f: Forward[T], x: T) -> T:
        """The last block's output to logits."""
        raise NotImplementedError
