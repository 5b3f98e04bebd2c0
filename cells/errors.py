"""The one error that a user can cause and mend."""

import difflib
import re
from collections.abc import Iterable
from itertools import islice
from typing import NoReturn


def one_line(message: str) -> str:
    """Returns a message on one line, without its middle if it is very long.

    Line breaks become spaces, other characters that cannot be printed are escaped.
    """
    if len(message) > 1000:
        message = f"{message[:700]}…{message[-299:]}"
    if not message.isprintable():
        message = re.sub(r"\s*[\n\r]\s*", " ", message)
        message = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
    return message


class InputError(ValueError):
    """Input that its user can correct.

    The message is one line that names the offending value and the remedy; scripts print it
    and leave with exit code 2. What it quotes may come from a stranger's file: line breaks become
    spaces, control characters are escaped, and the middle of a very long message is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def unknown(what: str, value: object, choices: Iterable[str]) -> InputError:
    """Returns the error for a name that is not among `choices`, with the nearest one.

    Args:
        what: what the name stands for, e.g. `"operation"`.
        value: the name as the user wrote it.
        choices: every valid name; of very many, the first thousand are looked at.
    """
    names = list(islice(choices, 1000))
    asked = str(value)[:80] if isinstance(value, str) else type(value).__name__
    near = difflib.get_close_matches(asked, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(names)}"
    return InputError(f"unknown {what} {asked!r}: {hint}")


def raise_it(error: InputError) -> NoReturn:
    """Raises an error, where a caller has asked for nothing else to be done with it."""
    raise error
