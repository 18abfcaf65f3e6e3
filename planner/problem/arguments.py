"""Says once what the questions of the Python API share: arguments, each with its type, its default and its meaning.

A question takes those of a TypedDict as `**asked: Unpack[...]`, which type checkers and editors know.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypedDict

from planner.extras import Progress
from planner.problem.problem import CatalogSource
from planner.records.asked.space import SpaceSource

if TYPE_CHECKING:
    from planner.records.asked.option_types import Options
else:  # type checkers alone need the values of options, whose types take milliseconds to make

    class Options(TypedDict, total=False):
        """Stands in for the options."""


class Argument(NamedTuple):
    """Says what an argument is unless it is given, and what it means.

    Attributes:
        default: Its default.
        meaning: Sentences for the documentation, in lines as they stand under `Args:`.
    """

    default: Any
    meaning: str


class WorkloadArguments(TypedDict, total=False):
    """Says what is trained besides the model, and with which room; fields of the request as they stand."""

    task: Annotated[
        str | None,
        Argument(
            None,
            """What the model is trained to do, such as `masked-lm`; by default what people train it for, an encoder for
            `sequence-classification`.""",
        ),
    ]
    evaluation_batch_size: Annotated[
        int | None,
        Argument(None, "Samples that each GPU evaluates at once between steps. By default nothing is evaluated."),
    ]
    batching: Annotated[
        str,
        Argument(
            "full",
            """How samples become sequences: `full`, every sequence is full; `padded`, samples of different lengths are
            padded to `sequence_length`; `packed`, several samples share a sequence, each with its own positions.""",
        ),
    ]
    target_length: Annotated[
        int | str | None,
        Argument(
            None,
            """Tokens of the decoder's sequence, of encoder-decoders alone, such as T5 or BART; `sequence_length` is
            then that of the source. By default targets are as long as sources.""",
        ),
    ]
    mean_length: Annotated[
        int | str | None,
        Argument(
            None,
            """Tokens per sample on average, if samples are padded or packed. With it, tokens per second leave
            padding out; memory does not depend on it.""",
        ),
    ]
    outputs: Annotated[
        str,
        Argument(
            "released",
            """How long the training loop keeps what the model returned, the logits among it: `released`, as Trainer
            does; `kept` until the next forward has returned, as `outputs = model(...)` in a loop; `kept-in-step`.""",
        ),
    ]
    headroom: Annotated[
        float | None,
        Argument(
            None,
            """Share of the GPU's usable bytes that is left free, from 0 to below 1. By default a search leaves 0.05
            free; one configuration fits if the GPU has its bytes at all, and only what is proposed in its place
            leaves 0.05.""",
        ),
    ]
    host_memory: Annotated[
        int | str | None,
        Argument(
            None,
            """Host memory of one node that processes can use, in bytes or as text such as `512GB`; by default the
            machine's, or what is usual with its GPUs.""",
        ),
    ]
    loading: Annotated[
        str,
        Argument(
            "auto",
            """`every-rank` or `rank-0`: which ranks of a node have the whole model while it is loaded. By default
            every one, or rank 0 where a node cannot hold that and FSDP can send the others their shares.""",
        ),
    ]


class LengthArguments(TypedDict, total=False):
    """Says the one length that a question is about."""

    sequence_length: Annotated[
        int | str | None,
        Argument(
            None,
            """Tokens per sequence, such as 4096 or `4k`, which is the same. By default 2048, or all of the
            model's positions if they end earlier; for a model whose samples all have one length, such as ViT, that
            length, and no other is accepted.""",
        ),
    ]


class OneBatchArguments(LengthArguments, total=False):
    """Says the one batch of a configuration."""

    micro_batch_size: Annotated[int, Argument(1, "Sequences per GPU and forward pass.")]
    gradient_accumulation_steps: Annotated[int, Argument(1, "Forward and backward passes per optimizer step.")]


class SourceArguments(Options, total=False):
    """Says where the names of a question are looked up, who is told of its course, and the options of techniques."""

    catalog: Annotated[
        CatalogSource,
        Argument(
            None,
            """A `Catalog`, or the path of a YAML file that adds GPUs to the built-in catalog. By default the file
            that the environment variable PLANNER_CATALOG names, if any, is added.""",
        ),
    ]
    progress: Annotated[
        Progress,
        Argument(
            lambda _: None,
            "Function that is called with a line of text about what takes long, such as a replay.",
        ),
    ]


class ConfigurationArguments(OneBatchArguments, WorkloadArguments, SourceArguments, total=False):
    """Takes what questions about one configuration have in common."""


class BatchArguments(TypedDict, total=False):
    """Says which batches a search may take."""

    micro_batch_size: Annotated[
        int | Sequence[int],
        Argument((), "Allowed numbers of sequences per GPU and forward pass, one or several. By default any number."),
    ]
    max_accumulation: Annotated[
        int | None,
        Argument(
            None,
            """Largest number of gradient accumulation steps per optimizer step; 16 by default, since
            accumulation costs almost no memory. Excludes the next three.""",
        ),
    ]
    gradient_accumulation_steps: Annotated[
        int | None, Argument(None, "Number of accumulation steps that every plan must have.")
    ]
    global_batch_size: Annotated[
        int | None,
        Argument(None, "Effective batch, in sequences, that every plan must have; the fastest plan comes first."),
    ]
    tokens_per_step: Annotated[
        int | str | None,
        Argument(
            None,
            """Tokens of all GPUs per optimizer step, in place of `global_batch_size`: the effective batch is
            the nearest that the GPUs can divide. A number, or text such as `512k`.""",
        ),
    ]


class RunArguments(TypedDict, total=False):
    """Says how long the whole run is, and what it may take."""

    tokens: Annotated[
        int | str | None,
        Argument(None, "Tokens of a run, a number or text such as `1.5B`: plans then say how long the run takes."),
    ]
    samples: Annotated[
        int | str | None,
        Argument(None, "Samples of a run, in place of `tokens`, a number or text such as `10M`."),
    ]
    epochs: Annotated[float | None, Argument(None, "How often the run goes over these; once by default.")]
    deadline: Annotated[
        float | str | None,
        Argument(None, "Most seconds of the run, or text such as `24h`; plans that take longer are rejected."),
    ]
    budget: Annotated[float | None, Argument(None, "Most US dollars of the run; plans that cost more are rejected.")]
    price: Annotated[
        float | None,
        Argument(None, "Price of one GPU for an hour, in US dollars; by default that of the catalog, if it has one."),
    ]


class SearchArguments(BatchArguments, RunArguments, WorkloadArguments, SourceArguments, total=False):
    """Takes what searches have in common, whatever they are given of models, machines and lengths."""

    objective: Annotated[
        str | None,
        Argument(
            None,
            """What plans are ordered by: `batch`, the largest effective batch, then the shortest time;
            `throughput`, the most tokens per second; `cost`, the lowest price per token; `memory`, the fewest bytes of
            the process, by default at an effective batch of 64 sequences, or slightly more where the GPUs cannot
            divide 64. By default `batch`.""",
        ),
    ]
    space: Annotated[
        SpaceSource,
        Argument(
            None,
            """A `SearchSpace`, or the path of a YAML file that holds one. Options that are given by name take
            precedence over it.""",
        ),
    ]


class RankingArguments(LengthArguments, SearchArguments, total=False):
    """Takes what searches at one length have in common: a ranking."""

    top: Annotated[int, Argument(10, "Number of plans, or of machines, to return.")]
