"""The one command: its verbs, its help, its completions."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import shtab

import nas.__main__ as program
from docs.completions import tree
from nas.commands.completion import SHELLS, script_of
from nas.runtime.commandline import called

ROOT = Path(__file__).parent.parent


def run(monkeypatch: pytest.MonkeyPatch, *args: object) -> None:
    monkeypatch.setattr(sys, "argv", ["nas", *map(str, args)])
    program.main()


def test_every_command_is_a_verb() -> None:
    files = {
        path.stem
        for path in (ROOT / "nas" / "commands").glob("*.py")
        if "\ndef command(" in path.read_text(encoding="utf-8")
    }
    assert files == set(program.VERBS)


@pytest.mark.parametrize("args", [(), ("-h",), ("--help",)])
def test_help_shows_all_verbs_by_groups(monkeypatch, capsys, args) -> None:
    run(monkeypatch, *args)
    text, err = capsys.readouterr()
    assert err == "" and text.startswith("usage: nas VERB …; nas VERB --help explains one\n\n")
    groups = [part.splitlines() for part in text.strip().split("\n\n")[1:-1]]
    assert [head for head, *_ in groups] == [f"{title}:" for title in program.GROUPS]
    assert [line.split()[0] for _, *lines in groups for line in lines] == list(program.VERBS)
    assert "front is the former name of ask." in text


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        ("serach", "unknown command 'serach': did you mean 'search'?"),
        ("fornt", "unknown command 'fornt': did you mean 'front'?"),
        ("xyz", "unknown command 'xyz': choose from search, ask, "),
    ],
)
def test_an_unknown_verb_is_told_the_nearest(monkeypatch, capsys, verb, message) -> None:
    with pytest.raises(SystemExit) as leave:
        run(monkeypatch, verb)
    assert leave.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_former_name_does_the_same(monkeypatch, capsys, run_folder: Path) -> None:
    for question in ((), ("--lam", "0.3"), ("--at-most", "params=1M")):
        said = []
        for verb in ("ask", "front"):
            run(monkeypatch, verb, run_folder, *question)
            said.append(capsys.readouterr().out)
        assert said[0] == said[1] != ""


@pytest.mark.parametrize("verb", ["search", "retrain"])
def test_a_script_and_its_verb_do_the_same(monkeypatch, capsys, verb) -> None:
    run(monkeypatch, verb)
    said = capsys.readouterr().out
    assert said.startswith(f"usage: nas {verb} ")
    monkeypatch.setattr(sys, "argv", [f"{verb}.py"])
    runpy.run_path(str(ROOT / f"{verb}.py"), run_name="__main__")
    assert capsys.readouterr().out == said.replace(f"nas {verb} ", f"{verb}.py ")


def test_a_command_is_called_as_it_was_started(monkeypatch) -> None:
    for name, expected in {
        "search.py": "search.py",
        "/x/search.py": "search.py",
        "/usr/bin/nas": "nas search",
        "/x/nas/__main__.py": "python -m nas search",
        "retrain.py": "python -m nas search",
    }.items():
        monkeypatch.setattr(sys, "argv", [name])
        assert called("search") == expected


# -------------------------------------------------------------------- completions


def completed(*words: str) -> set[str]:
    """What bash offers for the last of some words."""
    script = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_nas nas; '
    done = subprocess.run(
        ["bash", "-c", script + 'printf "%s\\n" "${COMPREPLY[@]}"', script_of("bash"), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["nas", "se"], {"search"}),
        (["nas", "compl"], {"completion"}),
        (["nas", "search", "nasb"], {"nasbench201"}),
        (["nas", "search", "digits", "--relax", "gumbel_"], {"gumbel_example"}),
        (["nas", "search", "digits", "--perturb-"], {"--perturb-radius"}),
        (["nas", "search", "digits", "--method", "pc-"], {"pc-darts"}),
        (["nas", "export", "x", "--to", "torchs"], {"torchscript"}),
        (["nas", "retrain", "--label"], {"--label-smoothing"}),
    ],
)
def test_bash_completes(words: list[str], found: set[str]) -> None:
    assert completed(*words) == found


@pytest.mark.parametrize("shell", SHELLS)
def test_completions_are_those_of_this_version(shell: str) -> None:
    """If this fails, verbs or options have changed: make completions."""
    assert shtab.complete(tree(), shell) == script_of(shell).read_text(encoding="utf-8")


def test_completions_are_printed_without_torch() -> None:
    code = (
        "import sys; sys.argv = ['nas', 'completion', 'zsh']\n"
        "import nas.__main__; nas.__main__.main()\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.decode() == script_of("zsh").read_text(encoding="utf-8")
    assert done.stdout.startswith(b"#compdef nas\n")
