"""Defines what all architectures share: common fields of a config.json, and the parts that a model runs in."""

from collections.abc import Hashable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from planner.models.vocabulary.forward import Forward, T
from strategies import Task

Size = Annotated[int, Field(gt=0, le=2**24, strict=True)]
"""A positive number, such as a width or a number of heads."""
Layers = Annotated[int, Field(gt=0, le=2**10, strict=True)]
"""A number of layers. The largest models have 126. Planning time grows with each layer: at this limit it takes seconds,
and half a minute in the slowest family."""
Probability = Annotated[float, Field(ge=0, lt=1)]
"""A dropout probability in [0, 1)."""
Share = Annotated[float, Field(gt=0, le=1)]
"""A share in (0, 1]."""

Positions = Literal["rotary", "learned", "relative", "alibi"]
"""How a model represents positions. Learned positions end at `max_position_embeddings`; the others can be
extrapolated."""

Masking = Literal["causal", "always", "alibi", "beside_alibi", "booleans"]
"""Which mask a model makes before its blocks. `causal`: one where the attention kernel needs it; `always`: one for SDPA
as well (Falcon); `alibi`: one for each head, with ALiBi in it (Falcon); `beside_alibi`: one next to a separate ALiBi
tensor (BLOOM); `booleans`: one of booleans (MPT)."""

Objective = Literal["next_token", "each_token", "each_sample", "each_pair"]
"""What the loss compares logits with. `next_token`: labels shifted by one (causal language models); `each_token`:
labels as they are (masked and sequence-to-sequence language models); `each_sample`: one label for each sample
(classification); `each_pair`: two texts of a sample with each other, and with those of other samples (embeddings)."""

INT64 = 8
"""Bytes per element."""


class Architecture(BaseModel):
    """Holds the fields of a config.json that decide sizes, named as there.

    Unknown keys are ignored, as transformers does. A family writes `stem`, `block` and `head` as transformers' modeling
    file does, line by line, because local variables decide which tensors stay alive.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, defer_build=True)

    classes: ClassVar[tuple[str, ...]]
    """Suffixes of the training classes' names that the family describes; a file names its class in `architectures`."""

    positions: ClassVar[Positions] = "rotary"
    """How the family represents positions."""

    supports_sdpa: ClassVar[bool] = True
    """Whether transformers runs the family with SDPA (`_supports_sdpa` of the modeling file); if not, it refuses SDPA
    and runs eager attention."""

    supports_flash: ClassVar[bool] = True
    """Whether transformers runs the family with flash-attn (`_supports_flash_attn` of the modeling file)."""

    supports_flex: ClassVar[bool] = True
    """Whether transformers runs the family with flex_attention (`_supports_flex_attn` of the modeling file)."""

    packs: ClassVar[bool] = True
    """Whether the family's mask keeps packed samples apart, which it recognizes by positions that start again within a
    sequence."""

    linear_class: ClassVar[str] = "Linear"
    """Class of the blocks' linear layers. Code that looks for torch.nn.Linear does not find GPT-2's Conv1D."""

    first_linear: ClassVar[str] = ""
    """Name within a block of the linear layer that is defined first; empty where it is the one that runs first."""
    last_linear: ClassVar[str] = ""
    """Name within a block of the linear layer that is defined last, of a family whose heads may be defined first."""

    quantizes_experts: ClassVar[bool] = False
    """Whether a base that bitsandbytes quantizes has other modules, because transformers takes the experts apart into
    linear layers (quantizers/base.py, `MODULES_TO_PATCH_FOR_QUANTIZATION`). Their forward is not described here, so
    QLoRA with bitsandbytes is refused."""

    packs_experts: ClassVar[bool] = False
    """Whether checkpoints of the family hold experts packed into 4 bits, which loading unpacks."""

    shares_computed: ClassVar[bool] = False
    """Whether blocks share a tensor that was computed from weights, and that is no argument of theirs by position:
    backward of each block goes through its graph."""

    num_masks: ClassVar[int] = 1
    """Number of causal masks that eager attention makes: one for each kind of window."""

    masking: ClassVar[Masking] = "causal"
    """Which mask the model makes before its blocks."""

    returns_probabilities: ClassVar[bool] = False
    """Whether blocks return eager attention's probabilities, which the model's body keeps until the next block has
    returned."""

    positional: ClassVar[frozenset[str]] = frozenset()
    """Names of shared tensors (`Forward.share`) that blocks receive as positional arguments and that are no leaves of
    autograd's graph. `torch.utils.checkpoint` saves them for each block, so `save_on_cpu` moves them to the host."""
    positional_leaves: ClassVar[frozenset[str]] = frozenset()
    """Names of those that are leaves of autograd's graph."""

    notes: ClassVar[tuple[str, ...]] = ()
    """Notes for users on loading or training any model of the family."""

    adapter_notes: ClassVar[tuple[str, ...]] = ()
    """Notes for users on training any model of the family with LoRA."""

    embedding_name: ClassVar[str] = "embed_tokens"
    """Name of the token embedding, as in the modeling file."""

    head_is_unit: ClassVar[bool] = True
    """Whether accelerate makes the final norm and the head an FSDP2 unit (`fsdp2_prepare_model`); if not, they belong
    to the root."""

    model_type: str
    hidden_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    tie_word_embeddings: bool = False

    @classmethod
    def describes(cls, fields: Mapping[str, Any]) -> bool:
        """Returns whether the family describes the model of a file with these fields; other models are replayed."""
        return True

    def config(self) -> dict[str, Any]:
        """Returns the fields as a config.json spells them, which transformers' configuration class takes."""
        described = type(self).model_fields
        given = self.model_dump(mode="json").items()
        fields = {name: value for name, value in given if value is not None or described[name].default is not None}
        for name, field in described.items():
            if isinstance(field.validation_alias, AliasChoices) and name in fields:
                fields[str(field.validation_alias.choices[0])] = fields.pop(name)
        return fields

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Returns what the family can be trained to do, the usual task first."""
        return (Task.CAUSAL_LM,)

    @property
    def task(self) -> Task:
        """Returns what the model is trained to do, which is one of `tasks`."""
        return self.tasks[0]

    def for_task(self, task: Task) -> Self:
        """Returns the same model with the head of one of its `tasks`."""
        return self

    @property
    def objective(self) -> Objective:
        """Returns what the loss compares logits with."""
        return "next_token"

    @property
    def window(self) -> int | None:
        """Returns the sliding window, in tokens, of the layers that have one, or None."""
        return getattr(self, "sliding_window", None)

    @property
    def tied_to(self) -> str | None:
        """Returns the name of the embedding whose weight the language-model head shares, or None."""
        return self.embedding_name if self.tie_word_embeddings else None

    @property
    def defines_head_first(self) -> bool:
        """Returns whether the training class defines its head before the body, whose last block then ends the model."""
        return False

    @property
    def embeds_again(self) -> int | None:
        """Returns the index of the layer that looks up the stem's token embedding a second time, or None.

        An encoder-decoder does so for the decoder's tokens.
        """
        return None

    @property
    def is_encoder_decoder(self) -> bool:
        """Returns whether a sample is a source, which an encoder reads, and a target, which a decoder predicts."""
        return self.embeds_again is not None

    @property
    def num_positions(self) -> int | None:
        """Returns the longest sequence, in tokens, that the model was trained with, or None where there is no limit."""
        return getattr(self, "max_position_embeddings", None)

    @property
    def tokens_per_sample(self) -> int | None:
        """Returns the tokens of a sample where all samples have one length, as images do, or None."""
        return None

    def batch_bytes(self, sequence_length: int, target_length: int) -> int:
        """Returns the bytes that a training loop feeds for one sample: int64 ids and labels of its tokens.

        Args:
            sequence_length: Tokens per sample; of an encoder-decoder, those of the source.
            target_length: Tokens of the sequence that is predicted, the same one but for an encoder-decoder.
        """
        return 2 * sequence_length * INT64

    def layer_kinds(self) -> tuple[Hashable, ...]:
        """Returns one kind per layer; layers of equal kinds are alike in every byte."""
        return ("block",) * self.num_hidden_layers

    def is_block(self, kind: Hashable) -> bool:
        """Returns whether a layer of this kind is one of transformers' blocks, which can be checkpointed."""
        return True

    def reads_target(self, kind: Hashable) -> bool:
        """Returns whether the input of a layer of this kind has the target's tokens, as in a decoder after an encoder.

        The head and the loss are always of the target, which is the source but for an encoder-decoder.
        """
        return False

    def stem(self, f: Forward[T]) -> T:
        """Computes the first block's input from the batch's input ids."""
        raise NotImplementedError

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        """Computes the output of a block of this kind from its input."""
        raise NotImplementedError

    def head(self, f: Forward[T], x: T) -> T:
        """Computes logits from the last block's output."""
        raise NotImplementedError
