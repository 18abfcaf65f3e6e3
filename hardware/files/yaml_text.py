"""Reads a YAML file as plain data, with the position of every value, and reports all its problems at once.

The built-in catalog is read here only if it is broken; otherwise PyYAML's C loader reads single entries of it.
"""

from pathlib import Path
from typing import Any, Final

import yaml

from hardware.errors import CatalogError, FileError, shown
from hardware.files.document import Document, Location, position
from hardware.files.json_text import JsonError, decoded, parse_json
from hardware.files.untrusted import UnreadableError, read_file, read_standard_input

SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML's loader in C if it is installed."""

STANDARD_INPUT: Final = "-"
"""Name of standard input as a file."""

MAX_FILE_BYTES: Final = 1 << 20
MAX_NODES: Final = 50_000  # after the expansion of aliases; the built-in catalog has about 4 000
# Unless quoted: PyYAML reads 1:1:1:... as a sexagesimal integer, in quadratic time.
MAX_SCALAR_CHARACTERS: Final = 10_000
MAX_DEPTH: Final = 20
MAX_BITS: Final = 128  # of a whole number: sizes have fewer, and larger numbers overflow as floats


def read_document(path: str | Path, error: type[FileError] = CatalogError, *, content: bytes | None = None) -> Document:
    """Reads a YAML file of mappings, sequences and plain scalars.

    Args:
        path: The file.
        error: Type of the error that is raised here, and later by the document.
        content: What the file holds, if it has been read already; `path` is then its name.

    Raises:
        FileError: The file cannot be read or is not valid YAML.
    """
    document = Document(str(path), error=error)
    _parse(document, _read_bytes(document, path) if content is None else content)
    return document


def read_json(path: str | Path, error: type[FileError], *, content: bytes | None = None) -> Document:
    """Reads a JSON file as `read_document` reads YAML: with the position of each value, and duplicate keys refused.

    Raises:
        FileError: The file cannot be read or is not valid JSON.
    """
    document = Document(str(path), error=error)
    content = _read_bytes(document, path) if content is None else content
    try:
        data = parse_json(decoded(content))
    except JsonError as problem:
        document.add_problem_at((max(problem.line, 1), max(problem.column, 1)), (), problem.message)
        document.raise_problems()
    # JSON is YAML but for tabs between values, and for numbers such as 5e8, which YAML 1.1 reads as text.
    _parse(document, content.replace(b"\t", b" "))
    document.raise_problems()
    document.data = data
    return document


def _parse(document: Document, content: bytes) -> None:
    """Fills a document with the data of YAML text; raises its error if the text is not valid YAML."""
    try:
        _check_size(document, content)
        root = yaml.compose(content, Loader=SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ", ".join(part for part in (error.context, error.problem) if part)
        document.add_problem_at(position(mark), (), f"not valid YAML: {message}")
    except (yaml.YAMLError, ValueError) as error:  # ReaderError: control characters; it has an offset, but no line
        document.add_problem((), f"not valid YAML: {_one_line(error)}")
    document.raise_problems()
    document.data = _Converter(document).convert(root, ()) if root is not None else None


def read_bytes(path: str | Path, error: type[FileError]) -> bytes:
    """Returns the content of a file of text, within the limit; `-` is standard input.

    Raises:
        FileError: It cannot be read, or is no text in UTF-8.
    """
    return _read_bytes(Document(str(path), error=error), path)


def _read_bytes(document: Document, path: str | Path) -> bytes:
    try:
        is_input = path == STANDARD_INPUT
        content = read_standard_input(MAX_FILE_BYTES) if is_input else read_file(path, MAX_FILE_BYTES)
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        position = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        document.add_problem_at(position, (), f"not UTF-8 text (byte {content[error.start]:#04x})")
    except UnreadableError as error:
        document.hint = "check the path, which counts from the working directory"
        document.add_problem((), str(error))
    document.raise_problems()
    return content


def _check_size(document: Document, content: bytes) -> None:
    """Refuses deep nesting, and anchors that multiply or contain themselves, before they take time or memory."""
    sizes: dict[str, int] = {}
    open_nodes: list[list[Any]] = [[None, 0]]  # [anchor, number of nodes] of each enclosing collection
    for event in yaml.parse(content, Loader=SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append([event.anchor, 1])
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
            open_nodes[-1][1] += size
            if anchor is not None:
                sizes[anchor] = size
        elif isinstance(event, yaml.ScalarEvent):
            open_nodes[-1][1] += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
            if event.implicit[0] and len(event.value) > MAX_SCALAR_CHARACTERS:  # quoted text is no number
                message = f"a value of more than {MAX_SCALAR_CHARACTERS} characters"
                document.add_problem_at(position(event.start_mark), (), message)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in open_nodes):
                document.add_problem_at(position(event.start_mark), (), f"alias *{event.anchor} contains itself")
            open_nodes[-1][1] += sizes.get(str(event.anchor), 1)
        if len(open_nodes) > MAX_DEPTH + 1:
            document.add_problem_at(position(event.start_mark), (), f"nested deeper than {MAX_DEPTH} levels")
        elif sum(size for _, size in open_nodes) > MAX_NODES:
            document.add_problem_at(position(event.start_mark), (), f"more than {MAX_NODES} values, aliases included")
        document.raise_problems()


class _Converter:
    """Converts YAML nodes to the data that SafeLoader makes, but collects problems and leaves keys as text."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._loader = SafeLoader("")
        self._flattened: set[int] = set()

    def convert(self, node: yaml.Node, location: Location) -> Any:
        """Returns the data of a node; None for a value that is refused."""
        self._document.place(location, node)
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python/"):
            return self._document.refuse(node, location, f"the tag {shown(node.tag)} is not allowed")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(item, (*location, index)) for index, item in enumerate(node.value)]
        try:
            value = self._loader.construct_object(node)
            if isinstance(value, int) and value.bit_length() > MAX_BITS:
                return self._document.refuse(node, location, f"{shown(node.value)} has too many digits")
            return value
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError):
            kind = node.tag.removeprefix("tag:yaml.org,2002:")
            return self._document.refuse(node, location, f"{shown(node.value)} is not a valid {kind[:40]}")

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        if id(node) not in self._flattened:  # an aliased node is converted several times
            self._flatten(node, location)
        result: dict[str, Any] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                result[key.value] = self.convert(value, (*location, key.value))
                self._document.place((*location, key.value), key if isinstance(value, yaml.CollectionNode) else value)
        return result

    def _flatten(self, node: yaml.MappingNode, location: Location) -> None:
        """Reports keys that are not text or occur twice, then expands merge keys (<<: *anchor) in place."""
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._document.refuse(key, location, "a key must be plain text")
            elif key.value in seen:
                self._document.refuse(key, (*location, key.value), f"duplicate key, first on line {seen[key.value]}")
            else:
                seen[key.value] = key.start_mark.line + 1
        try:
            self._loader.flatten_mapping(node)
        except yaml.MarkedYAMLError as error:
            self._document.refuse(node, location, _one_line(error.problem))
        self._flattened.add(id(node))


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
