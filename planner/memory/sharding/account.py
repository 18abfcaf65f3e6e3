"""Adds up what a rank stores of one part, tensor by tensor."""

from math import prod
from typing import NamedTuple

from planner.libraries.allocator import allocated
from planner.memory.linear.quantized import Kind
from planner.memory.settings.dtypes import FP32


class TrainedTensor(NamedTuple):
    """A parameter that trains; FSDP2's padding is included in its shape and elements."""

    shape: tuple[int, ...]
    """Unsharded shape."""
    num_elements: int
    itemsize: int
    """Bytes per element of the stored parameter, of its gradient and of states of its own dtype."""
    is_embedding: bool
    computed_itemsize: int
    """Bytes per element of its gradient while backward runs."""
    name: str = ""
    """Name within its part; empty where a model is known only by its replays."""
    is_hidden: bool = False
    """Whether it is a matrix in a block."""
    is_linear: bool = False
    """Whether it is the weight of a linear layer in a block."""


class Trains(NamedTuple):
    """Describes a parameter that trains, before ranks divide it."""

    name: str
    """Name within its part."""
    shape: tuple[int, ...]
    """Unsharded shape, without padding."""
    stored: int
    """Bytes per element between steps."""
    computed: int
    """Bytes per element during forward and backward."""
    is_embedding: bool = False
    """Whether it is the table of an embedding."""
    is_linear: bool = False
    """Whether it is the weight of a linear layer."""
    apart: bool = False
    """Whether it belongs to a module that PEFT adds."""


class Parameter(NamedTuple):
    """A parameter of a part, as a backend needs it that acts on each of them."""

    name: str
    num_elements: int
    itemsize: int
    trains: bool

    @classmethod
    def of(cls, name: str, shape: tuple[int, ...], itemsize: int, *, trains: bool) -> "Parameter":
        """Returns a parameter of this shape, with `itemsize` bytes per element."""
        return cls(name, prod(shape), itemsize, trains)


class Unit(NamedTuple):
    """The parameters of one part, as a rank stores them and as it computes with them."""

    stored_bytes: int
    """Bytes of one rank's share of all parameters, as stored between steps."""
    trained: tuple[TrainedTensor, ...]
    gathered_bytes: int
    """Bytes of all parameters, unsharded and in the dtype of the computation, as FSDP2 gathers them."""
    gradient_bytes: int
    """Bytes of one rank's share of the gradients, as stored between steps."""
    gathered_gradient_bytes: int
    """Bytes of the unsharded gradients in the dtype of the computation, before FSDP2 scatters them."""
    whole_gradient_bytes: int = 0
    """Bytes of the same gradients as tensors of their own, which is how they accumulate; without padding."""
    buffer_bytes: int = 0
    """The part of `stored_bytes` that is no parameter, such as scales of quantized weights: an offload leaves it."""
    cast_bytes: int = 0
    """Bytes of one rank's share of what is stored in another dtype than that of the computation, in the latter: FSDP
    copies it in order to gather."""
    skipped_bytes: int = 0
    """Bytes of gradients that never come, for which DDP's buckets have a place even so."""
    parameters: tuple[Parameter, ...] = ()
    """All parameters one by one, where the backend asks for them."""
    tensors: tuple[int, ...] = ()
    """Bytes of each stored tensor on one rank, where they are listed; they add up to `stored_bytes`."""
    gathered_tensors: tuple[int, ...] = ()
    """Bytes of each parameter as FSDP2 gathers it; they add up to `gathered_bytes`."""
    fp32_bytes: int = 0
    """Bytes of the whole parameters that are stored in fp32, without what PEFT adds."""
    shares: tuple[int, ...] = ()
    """Bytes of one rank's share of each tensor that an offload moves to the host, before any allocator rounds them;
    that of a flat parameter of the base model comes first."""

    joined: tuple[int, ...] = ()
    """Bytes of each parameter of the base model that FSDP1 joins to a flat one, in the dtype of the computation."""

    regrouped: "tuple[Unit, Unit] | None" = None
    """Of a stem: its embedding alone, and all else that stem and head have; None where the two are divided as parts."""

    def gradient_shares(self, ranks: int) -> list[int]:
        """Returns the bytes of one rank's share of each gradient, as stored between steps."""
        return [tensor.num_elements // ranks * tensor.itemsize for tensor in self.trained]


def padded_to(ranks: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape to which FSDP2 pads a parameter so that the ranks can divide its first dimension.

    The first dimension of a stack of experts is their number: of 16 experts on 32 ranks each rank stores one, 16 of
    them padding (torch/distributed/fsdp/_fully_shard/_fsdp_param.py, `padded_sharded_param_size`).
    """
    return (-(-shape[0] // ranks) * ranks, *shape[1:])


class Account:
    """Adds up the bytes of a unit whose tensors are divided among `ranks` by rows."""

    def __init__(self, ranks: int, is_block: bool) -> None:
        self.ranks, self.is_block = ranks, is_block
        self.stored = self.gathered = self.gathered_gradients = self.gradients = self.buffers = 0
        self.whole_gradients = self.skipped = self.cast = 0
        self.trained: list[TrainedTensor] = []
        self.tensors: list[int] = []
        self.gathered_tensors: list[int] = []
        self.shares: list[int] = []
        self.in_fp32 = 0

    def keep(self, shape: tuple[int, ...], stored: int, computed: int, name: str = "") -> None:
        """Adds a parameter.

        Args:
            shape: Its unsharded shape, without padding.
            stored: Bytes per element between steps.
            computed: Bytes per element during forward and backward.
            name: Its name within the part.
        """
        rows, *columns = padded_to(self.ranks, shape)
        elements = rows // self.ranks * prod(columns)
        self.shares.append(elements * stored)
        self.in_fp32 += prod(shape) * stored if stored == FP32 else 0
        self.cast += elements * computed if stored != computed else 0
        self._store(allocated(elements * stored))
        self._gather(self.ranks * elements * computed)

    def _store(self, num_bytes: int) -> None:
        self.stored += num_bytes
        self.tensors.append(num_bytes)

    def _gather(self, num_bytes: int) -> None:
        self.gathered += num_bytes
        self.gathered_tensors.append(num_bytes)

    def quantize(self, shape: tuple[int, ...], kind: Kind, computed: int, name: str = "") -> None:
        """Adds a quantized weight, which is gathered as it is stored.

        Args:
            shape: (rows, columns).
            kind: How it is quantized.
            computed: Bytes per element of the dtype that the layer computes in, which is that of its sharded storage.
            name: Its name within the part.
        """
        rows, columns = shape
        if self.ranks == 1 or kind.sharded_bytes is None:
            self._store(kind.stored_bytes(rows, columns))
            return
        share, gathered, buffers = kind.sharded_bytes(rows, columns, self.ranks, computed)
        self.shares.append(share)
        self._store(share + buffers)
        self._gather(gathered)
        self.buffers += buffers

    def train(self, given: Trains) -> None:
        """Adds a parameter that trains, and its gradient."""
        tensor = self.trained_as(given, padded_to(self.ranks, given.shape))
        self.keep(given.shape, given.stored, given.computed, given.name)
        if given.apart and given.stored == FP32:  # PEFT makes it, after the model has been loaded
            self.in_fp32 -= prod(given.shape) * FP32
        self.gradients += allocated(tensor.num_elements // self.ranks * given.stored)
        self.gathered_gradients += tensor.num_elements * given.computed
        self.whole_gradients += allocated(prod(given.shape) * given.computed)

    def skip(self, given: Trains, *, trains: bool) -> None:
        """Adds a parameter on which the loss does not depend; `trains` says that DDP has a place for its gradient."""
        self.keep(given.shape, given.stored, given.computed, given.name)
        self.skipped += allocated(prod(given.shape) * given.stored) if trains else 0

    def trained_as(self, given: Trains, shape: tuple[int, ...]) -> TrainedTensor:
        """Lists a parameter that trains, in this shape, and returns it as the optimizer sees it."""
        is_hidden = self.is_block and len(given.shape) == 2
        tensor = TrainedTensor(
            shape,
            prod(shape),
            given.stored,
            given.is_embedding,
            given.computed,
            given.name,
            is_hidden,
            is_hidden and given.is_linear,
        )
        self.trained.append(tensor)
        return tensor

    def unit(self) -> Unit:
        """Returns the sums."""
        gradients = self.gradients, self.gathered_gradients, self.whole_gradients
        return Unit(
            self.stored,
            tuple(self.trained),
            self.gathered,
            *gradients,
            self.buffers,
            self.cast,
            skipped_bytes=self.skipped,
            tensors=tuple(self.tensors),
            gathered_tensors=tuple(self.gathered_tensors),
            fp32_bytes=self.in_fp32,
            shares=tuple(self.shares),
        )
