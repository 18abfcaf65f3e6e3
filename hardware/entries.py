"""From the data of a catalog file to GPUs, reporting every problem at its line and column."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from pydantic import BaseModel, ValidationError

from hardware.errors import nearest_names, normalized, shown
from hardware.gpu import GPU, Link, PeakFlops
from hardware.reading import Document, Location

SCHEMA_VERSION: Final = 1

_TOP_LEVEL_KEYS: Final = ("schema_version", "gpus")
_MODELS: Final[dict[Location, type[BaseModel]]] = {
    (): GPU,
    ("peak_flops",): PeakFlops,
    ("gpu_link",): Link,
    ("host_link",): Link,
    ("network_link",): Link,
}


class Base(Protocol):
    """Where the entries that a file overrides are found."""

    def find(self, name: str) -> GPU | None: ...

    def name_owners(self) -> dict[str, str]: ...


def name_key(name: str) -> str:
    """The form in which GPU names are compared; torch and nvidia-smi put the vendor in front, catalogs do not."""
    return normalized(name).removeprefix("nvidia").removeprefix("amd")


def claim_names(owners: dict[str, str], name: str, aliases: tuple[str, ...]) -> Iterator[tuple[int | None, str]]:
    """Enter a GPU's names in `owners` (key -> canonical name); yield (index of alias, owner) for each that is taken."""
    for index, alias in enumerate((name, *aliases), start=-1):
        owner = owners.setdefault(name_key(alias), name)
        if owner != name:
            yield (None if index < 0 else index), owner


def validated_gpus(document: Document, base: Base) -> tuple[GPU, ...]:
    """The GPUs of a file, complete: a field that an entry leaves out comes from the entry of that name in `base`.

    Raises CatalogError with all problems of the file.
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
            if problem["type"] == "default_factory_not_called":  # only says that there are other problems
                continue
            location = () if problem["loc"] == ("name",) else problem["loc"]
            document.add_problem(("gpus", key, *location), _message(problem))
    return None


def _message(problem: Any) -> str:
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
    owners = {key: owner for key, owner in base.name_owners().items() if owner not in gpus}
    for gpu in gpus.values():
        for index, owner in claim_names(owners, gpu.name, gpu.aliases):
            location: Location = ("gpus", gpu.name) if index is None else ("gpus", gpu.name, "aliases", index)
            taken = gpu.name if index is None else gpu.aliases[index]
            document.add_problem(location, f"the name {shown(taken)} already belongs to {owner}")
