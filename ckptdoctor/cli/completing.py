"""What a shell offers when Tab is pressed: rules, packages, releases, environments nearby. What a value is, its metavar says.

Nothing of the network is asked, and each completer imports only what it needs: a shell waits for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, add_completion_class, split_arg_string

Item: TypeAlias = "CompletionItem[str]"
Completer: TypeAlias = Callable[[click.Context, str], Iterable[Item]]

_NEEDS_NO_QUOTES = re.compile(r"[\w@%+:,./][\w@%+=:,./-]*")

_BASH = r"""
%(complete_func)s() {
    local IFS=$'\n' completion type value response
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" %(complete_var)s=bash_complete "$1")
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o filenames; COMPREPLY+=($(compgen -d -- "$value")) ;;
            file) compopt -o filenames; COMPREPLY+=($(compgen -f -- "$value")) ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_FISH = r"""
function %(complete_func)s;
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp | string collect) \
        COMP_CWORD=(commandline -t | string collect) %(prog_name)s);
    for completion in $response;
        set -l item (string split --max 1 "," $completion);
        switch $item[1];
            case dir; __fish_complete_directories $item[2];
            case file; __fish_complete_path $item[2];
            case plain; echo $item[2];
        end;
    end;
end;
complete --no-files --keep-order --command %(prog_name)s --arguments "(%(complete_func)s)";
"""


class _Bash(BashComplete):
    """Takes the line as it was typed: bash breaks words at ``=`` and ``:``, of which a requirement has some."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is completed, and that one."""
        line = os.environ.get("COMP_LINE")
        if line is None:
            return super().get_completion_args()
        words = split_arg_string(line)[1:]
        return (words, "") if line[-1:].isspace() or not words else (words[:-1], words[-1])

    def format_completion(self, item: Item) -> str:
        """Only what stands behind the last break: bash replaces no more."""
        broken = _broken(os.environ.get("COMP_LINE", ""), os.environ.get("COMP_WORDBREAKS", ""))
        return f"{item.type},{str(item.value).removeprefix(broken)}"


class _Fish(FishComplete):
    """Splits an answer at its first comma only: a range of releases has some."""

    source_template = _FISH


def _broken(line: str, breaks: str) -> str:
    """The part of the last value that bash takes for words of its own; none of a value in quotes."""
    word = re.split(r"\s", line)[-1]
    if word[:1] in ("'", '"'):
        return ""
    value = word.partition("=")[2] if word.startswith("-") and "=" in word else word
    last = max((value.rfind(char) for char in breaks), default=-1)
    return value[: last + 1]


def register() -> None:
    """Have click take these scripts in place of its own for bash and fish."""
    add_completion_class(_Bash, "bash")
    add_completion_class(_Fish, "fish")


def attach(command: click.Command) -> None:
    """Let a command and those below it complete their values."""
    for param in command.params:
        completers = _completers(param)
        if completers:
            setattr(param, "shell_complete", _joined(completers))  # noqa: B010 - a method of this one parameter
    if isinstance(command, click.Group):
        for below in command.commands.values():
            attach(below)


def _completers(param: click.Parameter) -> list[Completer]:
    if param.name in BY_NAME:
        return BY_NAME[param.name]
    return [
        BY_WORD[word] for word in re.findall(r"[A-Z]+(?:\.zip)?(?![\w.=:-])", param.metavar or "") if word in BY_WORD
    ]


def _joined(completers: list[Completer]) -> Completer:
    def complete(context: click.Context, incomplete: str) -> list[Item]:
        found = [item for one in completers for item in one(context, incomplete)]
        return list({(item.type, item.value): item for item in found}.values())

    return complete


def files(_context: click.Context, incomplete: str) -> Iterator[Item]:
    """Any file; the shell looks for it."""
    yield CompletionItem(incomplete, type="file")


def folders(_context: click.Context, incomplete: str) -> Iterator[Item]:
    """Any folder."""
    yield CompletionItem(incomplete, type="dir")


def rules(context: click.Context, incomplete: str) -> Iterator[Item]:
    """Codes of the rules of a check, of a scan, or of both."""
    from ckptdoctor.rules import RULES
    from ckptdoctor.scan.rules import rules as of_scan

    every = {} if context.info_name == "scan" else {code: one.name for code, one in RULES.items()}
    if context.info_name in ("scan", "rule"):
        every |= {code: one.name for code, one in of_scan().items()}
    for code, name in every.items():
        if code.startswith(incomplete.upper()):
            yield CompletionItem(code, help=name)


def codes(context: click.Context, incomplete: str) -> Iterator[Item]:
    """The last of several codes that commas separate."""
    before, comma, last = incomplete.rpartition(",")
    for item in rules(context, last):
        if item.value not in before.split(","):
            yield CompletionItem(f"{before}{comma}{item.value}", help=item.help)


def packages(_context: click.Context, incomplete: str) -> Iterator[Item]:
    """Packages of which something is known."""
    for name in _axes():
        if name.startswith(incomplete):
            yield CompletionItem(name)


def requirements(context: click.Context, incomplete: str) -> Iterator[Item]:
    """A package, and behind ``==`` or another operator its releases that are known, newest first; else a file."""
    if re.match(r"[./~]", incomplete) or "/" in incomplete:
        yield from files(context, incomplete)
        return
    found = re.fullmatch(r"([A-Za-z][\w.-]*)(.*?(?:[=~!]=|[<>]=?))([\w.]*)", incomplete)
    if found:
        for release in _releases(found[1]):
            if release.startswith(found[3]):
                yield CompletionItem(f"{found[1]}{found[2]}{release}")
        return
    for item in packages(context, incomplete):
        yield item
        yield CompletionItem(f"{item.value}==")


def releases(context: click.Context, incomplete: str) -> Iterator[Item]:
    """Releases that are known of the package that the command is about; of transformers if it names none."""
    named = re.match(r"[\w.-]+", str(context.params.get("axis") or ""))
    for release in _releases(named[0] if named else "transformers"):
        if release.startswith(incomplete):
            yield CompletionItem(release)


def families(_context: click.Context, incomplete: str) -> Iterator[Item]:
    """Model families that were measured."""
    from ckptdoctor import knowledge

    measured = (*knowledge.shipped().models(), *knowledge.shipped(knowledge.FAMILIES_FILE).models(), "tiny-glm4")
    for name in dict.fromkeys(measured):
        if name.startswith(incomplete):
            yield CompletionItem(name)


def functions(_context: click.Context, incomplete: str) -> Iterator[Item]:
    """Checkpoint functions that have a name."""
    from ckptdoctor.planning.options import named_functions

    for name in named_functions():
        if name.startswith(incomplete):
            yield CompletionItem(name)


def conventions(_context: click.Context, incomplete: str) -> Iterator[Item]:
    """Calling conventions."""
    from ckptdoctor import catalog

    for name in catalog.conventions():
        if name.startswith(incomplete):
            yield CompletionItem(name)


def environments(context: click.Context, incomplete: str) -> Iterator[Item]:
    """Environments nearby; without any that fits, files."""
    found = [one for one in nearby(os.environ, Path.cwd()) if one.startswith(incomplete)]
    yield from map(CompletionItem, found)
    if not found or "/" in incomplete:
        yield from files(context, incomplete)


def nearby(environ: Mapping[str, str], folder: Path) -> list[str]:
    """Environments that are active, in a folder or one above, or in the lists of conda and virtualenvwrapper.

    Args:
        environ: The environment variables.
        folder: The current folder.

    Returns:
        Those in the folder by their names, others by their paths; each has a Python. What a shell would have to quote is
        left out: the shell finds it as a file.
    """
    found = dict.fromkeys(path for path in _candidates(environ, folder) if (path / "bin" / "python").exists())
    names = [str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path) for path in found]
    return [name for name in names if _NEEDS_NO_QUOTES.fullmatch(name)]


def _candidates(environ: Mapping[str, str], folder: Path) -> Iterator[Path]:
    yield from (Path(environ[name]) for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if environ.get(name))
    yield from _inside(folder)
    for above in folder.parents:
        yield from (above / name for name in (".venv", "venv"))
    home = Path(environ.get("HOME", "/nowhere"))
    for shared in (environ.get("WORKON_HOME", home / ".virtualenvs"), home / "envs"):
        yield from _inside(Path(shared))
    try:
        listed = (home / ".conda" / "environments.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        listed = ""
    yield from (Path(line) for line in listed.splitlines() if line.startswith("/"))


def _inside(folder: Path) -> Iterator[Path]:
    """What looks like an environment in a folder."""
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return
    for path in inside:
        if (path / "pyvenv.cfg").is_file() or (path / "conda-meta").is_dir():
            yield path


def _axes() -> dict[str, list[str]]:
    """Each package of the shipped maps with its releases, oldest first."""
    from ckptdoctor import knowledge

    return {**knowledge.shipped(knowledge.DEEPSPEED_FILE).axes, **knowledge.shipped().axes}


def _releases(package: str) -> list[str]:
    return _axes().get(package, [])[::-1]


BY_NAME: Mapping[str | None, list[Completer]] = {
    "code": [rules],
    "conventions": [conventions],
    "formats": [],  # its type knows
    "functions": [functions, files],
    "python": [environments],
}
"""Of parameters whose metavar does not say enough."""

BY_WORD: Mapping[str, Completer] = {
    "CODES": codes,
    "COMMAND": files,
    "DIR": folders,
    "FAMILY": families,
    "FILE": files,
    "FILE.zip": files,
    "FOLDER": folders,
    "PACKAGE": packages,
    "PATH": files,
    "RELEASE": releases,
    "REQUIREMENT": requirements,
    "SOURCE": requirements,
    "STORE": files,
}
"""By the words of a metavar: ``FAMILY|FOLDER`` is either."""
