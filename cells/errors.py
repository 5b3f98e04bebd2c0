"""The one error that a user can cause and mend."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Input that its user can correct.

    The message is one line that names the offending value and the remedy; scripts print it
    and leave with exit code 2.
    """


def unknown(what: str, value: object, choices: Iterable[str]) -> InputError:
    """Returns the error for a name that is not among `choices`, with the nearest one.

    Args:
        what: what the name stands for, e.g. `"operation"`.
        value: the name as the user wrote it.
        choices: every valid name.
    """
    names = list(choices)
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(names)}"
    return InputError(f"unknown {what} {str(value)[:80]!r}: {hint}")
