"""Files are refused before the work, and are never there by half."""

import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from planner import OutputFileError
from planner.files import check_writable, write_whole


def test_a_file_is_written_with_the_rights_of_any_new_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "new.csv", b"content")
    (tmp_path / "other").touch()
    assert (tmp_path / "new.csv").read_bytes() == b"content"
    assert (tmp_path / "new.csv").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_an_existing_file_is_replaced_and_keeps_its_rights(tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    file.write_text("a longer old content")
    file.chmod(0o600)
    write_whole(file, b"new")
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "target.csv")
    write_whole(tmp_path / "link.csv", b"content")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "target.csv").read_bytes() == b"content"


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.csv")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Path, target: Any) -> Path:
        raise KeyboardInterrupt

    file = tmp_path / "old.csv"
    file.write_text("old")
    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(file, b"new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.csv", "old")]


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing/x.csv", "has no directory to be in"), (".", "is a directory"), ("a" * 300 + ".csv", "too long")],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(OutputFileError, match=message) as refused:
        check_writable(tmp_path / name)
    assert refused.value.hint


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, as_anybody: list[str]) -> None:
    tmp_path.chmod(0o500)
    code = "from pathlib import Path; from planner.files import check_writable; check_writable(Path('x.csv'))"
    run = [*as_anybody, sys.executable, "-c", code]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "OutputFileError: x.csv cannot be written: Permission denied" in done.stderr


def test_a_full_or_read_only_disk_is_an_error_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, **_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "touch", full)
    with pytest.raises(OutputFileError, match="No space left on device") as refused:
        check_writable(tmp_path / "x.csv")
    assert refused.value.hint == "free some space, or write to another disk"


def test_a_disk_that_is_full_while_the_file_is_written_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    file.write_text("old")
    code = (
        "from pathlib import Path\n"
        "from planner.files import OutputFileError, write_whole\n"
        f"try:\n    write_whole(Path({str(file)!r}), bytes(100_000))\n"
        "except OutputFileError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    reason = os.strerror(errno.EFBIG)
    assert done.stdout == f"{file} cannot be written: {reason}\nhint: free some space, or write to another disk\n"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.csv", "old")]


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    for name in (f".planner-{os.getpid()}.csv", f".planner-{os.getpid()}"):
        (tmp_path / name).write_text("half a file")
    write_whole(tmp_path / "new.csv", b"content")
    assert (tmp_path / "new.csv").read_bytes() == b"content"


def test_what_a_file_was_hidden_from_others_for_is_never_shown_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    write = Path.write_bytes

    def written(self: Path, content: bytes) -> int:
        modes.append(self.stat().st_mode & 0o777)
        return write(self, content)

    file = tmp_path / "old.csv"
    file.touch(0o600)
    monkeypatch.setattr(Path, "write_bytes", written)
    write_whole(file, b"new")
    assert modes == [0o600]


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    file = tmp_path / f"x.{'c' * 253}"
    write_whole(file, b"content")
    assert file.read_bytes() == b"content"


def refusal(path: Path) -> str:
    """What both functions say, at once."""
    said = set()
    for attempt in (check_writable, lambda path: write_whole(path, b"content")):
        with pytest.raises(OutputFileError) as refused:
            attempt(path)
        assert refused.value.hint
        said.add(refused.value.message)
    return said.pop() if len(said) == 1 else repr(said)


def test_what_is_no_file_is_refused_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    os.mkfifo("fifo.csv")
    Path("device.csv").symlink_to("/dev/full")
    Path("directory.csv").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket.csv")

    def found() -> dict[str, tuple[int, int]]:
        return {path.name: (path.lstat().st_ino, path.lstat().st_mode) for path in tmp_path.iterdir()}

    before = found()
    assert refusal(Path("fifo.csv")) == "fifo.csv is a FIFO"
    assert refusal(Path("device.csv")) == "device.csv is a device"
    assert refusal(Path("directory.csv")) == "directory.csv is a directory"
    assert refusal(Path("socket.csv")) == "socket.csv is a socket"
    assert refusal(Path("/dev/full")) == "/dev/full is a device"
    assert found() == before
    listener.close()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_the_output_of_the_process_is_not_replaced(tmp_path: Path, stream: str) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from planner.files import OutputFileError, check_writable\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n        check_writable(Path(name))\n"
        f"    except OutputFileError as error:\n        print(error.message, file=sys.{stream})"
    )
    link = tmp_path / "link.csv"
    link.symlink_to(f"/dev/{stream}")
    file = tmp_path / "own.csv"
    with file.open("w") as output:
        subprocess.run([sys.executable, "-c", code, link, file], check=True, **{stream: output})
    known = {"stdout": "standard output", "stderr": "standard error"}[stream]
    assert file.read_text() == f"{link} is where {known} goes\n{file} is where {known} goes\n"
    done = subprocess.run([sys.executable, "-c", code, link], check=True, text=True, **{stream: subprocess.PIPE})
    assert getattr(done, stream) == f"{link} is a FIFO\n"


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a\0b.csv").endswith("cannot be written: embedded null byte")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    assert refusal(tmp_path / "loop.csv").endswith(os.strerror(errno.ELOOP))
