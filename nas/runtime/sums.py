"""SHA-256 of the files of a report, as `sha256sum` writes and checks them."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from cells.errors import InputError
from cells.input_files import MIB, read_regular, read_text
from cells.output_files import write_atomically

SUMS = "SHA256SUMS"


def write_sums(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes down the hash of each content by its file's name in the folder."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in contents.items()]
    write_atomically(folder / SUMS, "".join(lines).encode())


def check_sums(folder: Path, limit: int) -> None:
    """Makes sure that files are what they were when their hashes were written.

    A folder of before has none; a file that is absent is left to who wants it.

    Args:
        limit: bytes that each may have.

    Raises:
        InputError: naming a file that differs, or if there are hashes that cannot be read.
    """
    if not (folder / SUMS).exists():
        return
    for line in read_text(folder / SUMS, MIB).splitlines():
        found = re.fullmatch(r"([0-9a-f]{64})  ([\w.-]+(?:/[\w.-]+)?)", line)
        if found is None or ".." in found[2]:
            raise InputError(
                f"{folder / SUMS} is damaged: write the report again with --resume {folder}"
            )
        path = folder / found[2]
        if path.exists() and hashlib.sha256(read_regular(path, limit)).hexdigest() != found[1]:
            raise InputError(
                f"{path} is not what was written, see {SUMS}: write the report again with "
                f"--resume {folder}"
            )
