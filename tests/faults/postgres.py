"""A PostgreSQL server of one's own: a fresh cluster in a temporary folder, reached by a socket there."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

NUMBERS = count(1)


def binaries() -> Path | None:
    """Where initdb and pg_ctl are, the newest of Debian's versions first; None if PostgreSQL is not installed."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4]))
    initdb = found[-1] if found else shutil.which("initdb")
    return Path(initdb).parent if initdb else None


class Server:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new_database(self) -> str:
        """The URL of an empty database."""
        import psycopg

        name = f"study{os.getpid()}_{next(NUMBERS)}"
        with psycopg.connect(host=str(self.folder), user="planner", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://planner@/{name}?host={self.folder}"


@contextmanager
def server() -> Iterator[Server]:
    """A running server, which refuses to be root's: then it is the user's that Debian's package makes, or nobody's."""
    programs = binaries()
    assert programs is not None
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        folder, data = Path(name), Path(name, "data")
        owner = _owner()
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        folder.chmod(0o755)

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [str(programs / program), "-D", str(data), *arguments],
                user=owner.pw_uid if owner else None,
                group=owner.pw_gid if owner else None,
                extra_groups=[] if owner else None,
                cwd=folder,
                stdout=subprocess.DEVNULL,
                check=True,
            )

        run("initdb", "-U", "planner", "--auth=trust", "--no-sync", "-E", "UTF8", "--no-locale")
        settings = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=100"
        run("pg_ctl", "-w", "-t", "60", "-l", str(folder / "log"), "-o", settings, "start")
        try:
            yield Server(folder)
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")


def _owner() -> pwd.struct_passwd | None:
    """Whose the server is; None for whoever runs this."""
    if os.geteuid() != 0:
        return None
    names = [entry.pw_name for entry in pwd.getpwall()]
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")
