"""Fuzzing that is guided by the branches of the code, over the readers of texts.

It needs `pip install atheris`.

    PYTHONPATH=. python tests/campaign/guided.py -atheris_runs=1000000 CORPUS

The first byte of an input chooses the reader. An error that is none of a user's ends it, and the
input is left in the present folder.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cells", "nas.runtime", "nas.reports", "nas.objective"]):
    from readers import READERS, outcome

TEXTS = [
    reader
    for reader in READERS.values()
    if reader.file.endswith((".json", ".jsonl", ".txt", ".csv"))
]
FOLDER = Path(tempfile.mkdtemp()) / "run"


def attempt(content: bytes) -> None:
    """Reads an input; anything but an answer or one line is raised."""
    if content:
        outcome(TEXTS[content[0] % len(TEXTS)], content[1:], FOLDER)


def main() -> None:
    """Puts the good files into the corpus, which comes last on the command line, and begins."""
    if len(sys.argv) > 1 and not sys.argv[-1].startswith("-"):
        corpus = Path(sys.argv[-1])
        corpus.mkdir(parents=True, exist_ok=True)
        for number, reader in enumerate(TEXTS):
            (corpus / f"good-{number}").write_bytes(bytes([number]) + reader.good)
    atheris.Setup(sys.argv, attempt)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
