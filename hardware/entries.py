"""Makes GPUs from the data of a catalog file, and reports every problem with its line and column."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from pydantic import BaseModel, ValidationError

from hardware.errors import nearest_names, normalized, shown
from hardware.gpu import GPU, Link, PeakFlops
from hardware.reading import Document, Location

SCHEMA_VERSION: Final = 1
"""Version of the catalog format that this planner reads."""

_TOP_LEVEL_KEYS: Final = ("schema_version", "gpus")
_MODELS: Final[dict[Location, type[BaseModel]]] = {
    (): GPU,
    ("peak_flops",): PeakFlops,
    ("gpu_link",): Link,
    ("host_link",): Link,
    ("network_link",): Link,
}


class Base(Protocol):
    """Describes where the entries that a file overrides are looked up."""

    def find(self, name: str) -> GPU | None:
        """Returns the GPU with a name or alias, or None."""
        ...

    def name_owners(self) -> dict[str, str]:
        """Returns the canonical name for the key (see `name_key`) of each name and alias."""
        ...


def name_key(name: str) -> str:
    """Returns a GPU's name in the form in which names are compared.

    It has no vendor in front: torch and nvidia-smi put one there, catalogs do not.
    """
    return normalized(name).removeprefix("nvidia").removeprefix("amd")


def claim_names(owners: dict[str, str], name: str, aliases: tuple[str, ...]) -> Iterator[tuple[int | None, str]]:
    """Enters the names of a GPU in `owners`, and yields those that are taken.

    Args:
        owners: Canonical name by key (see `name_key`); it is changed.
        name: Canonical name of the GPU.
        aliases: Its other names.

    Yields:
        The index of a taken alias, None for `name` itself, and the canonical name of the GPU that has it.
    """
    for index, alias in enumerate((name, *aliases), start=-1):
        owner = owners.setdefault(name_key(alias), name)
        if owner != name:
            yield (None if index < 0 else index), owner


def validated_gpus(document: Document, base: Base) -> tuple[GPU, ...]:
    """Returns the complete GPUs of a file.

    Args:
        document: The parsed file, whose `error` is raised.
        base: Catalog from which an entry takes the fields that it leaves out, if it has a GPU with that name or alias.

    Raises:
        CatalogError: The file has problems; all of them are listed.
    """
    gpus: dict[str, GPU] = {}
    seen: set[str] = set()
    for key, entry in _entries(document).items():
        known = base.find(key)
        name = known.name if known else key
        if name in seen:
            document.add_problem(("gpus", key), f"duplicate: {name} is already given above")
        elif gpu := _validated(document, key, name, known, entry):
            gpus[name] = gpu
        seen.add(name)
    _report_clashes(document, gpus, base)
    document.raise_problems()
    return tuple(gpus.values())


def _entries(document: Document) -> dict[str, Any]:
    """Returns the mapping under `gpus`; problems of the top level are added to the document."""
    data = document.data
    if not isinstance(data, Mapping):
        found = "the file is empty" if data is None else f"not {shown(data)}"
        document.add_problem((), f"must be a mapping with the keys {' and '.join(_TOP_LEVEL_KEYS)}; {found}")
        return {}
    for key in data:
        if key not in _TOP_LEVEL_KEYS:
            document.add_problem((key,), f"unknown key{_did_you_mean(key, _TOP_LEVEL_KEYS)}")
    version = data.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION or isinstance(version, bool):
        document.add_problem(("schema_version",), f"must be {SCHEMA_VERSION}, not {shown(version)}")
    gpus = data.get("gpus")
    if isinstance(gpus, dict):
        return gpus
    document.add_problem(("gpus",), f"must be a mapping of GPU names, not {shown(gpus)}")
    return {}


def _validated(document: Document, key: str, name: str, known: GPU | None, entry: Any) -> GPU | None:
    if not isinstance(entry, dict):
        document.add_problem(("gpus", key), f"must be a mapping of fields, not {shown(entry)}")
        return None
    if "name" in entry:
        document.add_problem(("gpus", key, "name"), "unknown field: the key above is the name")
    given = known.model_dump(exclude_unset=True) if known else {}
    try:
        return GPU.model_validate({**given, **entry, "name": name})
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            if problem["type"] == "default_factory_not_called":  # it only says that there are other problems
                continue
            location = () if problem["loc"] == ("name",) else problem["loc"]
            document.add_problem(("gpus", key, *location), _message(problem))
    return None


def _message(problem: Any) -> str:
    """Returns the text for an error of pydantic."""
    location = problem["loc"]
    if problem["type"] == "missing":
        return "this field is required"
    if problem["type"] == "extra_forbidden":
        return f"unknown field{_did_you_mean(str(location[-1]), tuple(_MODELS[location[:-1]].model_fields))}"
    if problem["type"] == "string_type" and isinstance(problem["input"], int | float):
        return f"must be text: put {shown(problem['input'])} in quotes"
    message = str(problem["msg"]).removeprefix("Input should be ").removeprefix("Value should be ")
    if message == problem["msg"]:
        text = message[:1].lower() + message[1:]
        return text if not location or isinstance(problem["input"], dict) else f"{text}, not {shown(problem['input'])}"
    return f"must be {message}, not {shown(problem['input'])}"


def _did_you_mean(name: str, known: tuple[str, ...]) -> str:
    nearest = nearest_names(name, known)
    return f", did you mean {nearest[0]}?" if nearest else f"; known: {', '.join(known)}"


def _report_clashes(document: Document, gpus: Mapping[str, GPU], base: Base) -> None:
    """Adds a problem for each name or alias that another GPU has, in the file or in `base`."""
    owners = {key: owner for key, owner in base.name_owners().items() if owner not in gpus}
    for gpu in gpus.values():
        for index, owner in claim_names(owners, gpu.name, gpu.aliases):
            location: Location = ("gpus", gpu.name) if index is None else ("gpus", gpu.name, "aliases", index)
            taken = gpu.name if index is None else gpu.aliases[index]
            document.add_problem(location, f"the name {shown(taken)} already belongs to {owner}")
