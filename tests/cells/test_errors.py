"""The user's error: one line, whatever it quotes."""

from cells.errors import InputError, unknown


def test_a_message_is_one_line() -> None:
    assert str(InputError("λ of 'a\nb\x1b[2J\u202e' – wrong")) == (
        r"λ of 'a b\x1b[2J\u202e' – wrong"
    )


def test_a_long_message_keeps_its_beginning_and_its_remedy() -> None:
    message = str(InputError("bad " + "x" * 10**6 + ": remove it"))
    assert len(message) == 1000 and message.startswith("bad x") and message.endswith(": remove it")


def test_the_nearest_name_is_offered() -> None:
    assert str(unknown("fruit", "aple", ["pear", "apple"])) == (
        "unknown fruit 'aple': did you mean 'apple'?"
    )
    assert str(unknown("fruit", 7, ["pear"])) == "unknown fruit 'int': choose from pear"
