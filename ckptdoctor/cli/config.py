"""What is set outside of the command line: ``[tool.ckptdoctor]`` in ``pyproject.toml``, and ``CKPTDOCTOR_*`` variables.

Options win over variables, and variables over the file. A variable may set every option but those that are of one run only.
The file comes with a project that somebody else may have written: it may say how strict a check is, never what is run, what
is installed or what is written. A file that another user may change is not read, unless it is named.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ckptdoctor.errors import DoctorError, UsageFault
from ckptdoctor.store import ownership
from ckptdoctor.words.escape import plain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = "tool.ckptdoctor"
PREFIX = "CKPTDOCTOR_"
OF_ONE_RUN = ("output", "no-cache", "update-baseline", "config", "help")
"""Options that make no sense but on the command line."""
IN_THE_FILE = (
    *("model", "engine", "convention", "nproc", "thorough", "jobs", "timeout", "verify", "verbose"),
    *("format", "fail-on", "select", "ignore", "baseline", "transformers"),
)
"""Options that the file may set: they name nothing that is run or written."""
SECTIONS = ("scan",)
"""Tables within ours, each with the settings of the command of that name."""
REPOSITORY = (".git", ".hg", ".jj", ".svn")
"""What marks the root of a repository, above which no file is looked for."""


@dataclass
class Source:
    """The file that settings come from.

    Attributes:
        file: Where it lies; empty if there is none.
        settings: Its table.
        passed_over: Files that were not read, each with the reason.
    """

    file: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    passed_over: list[tuple[Path, str]] = field(default_factory=list)


class Configured(click.Command):
    """A command whose options may be set in a file and by variables.

    Attributes:
        section: The table within ours that holds its settings, which is part of its variables' names too; empty where its
            settings stand in our table itself.
    """

    section = ""

    def __init__(self, *args: Any, **more: Any) -> None:
        """Adds the option that names the file."""
        super().__init__(*args, **more)
        text = f"Read [{self.table}] from this file. Default: the nearest pyproject.toml, up to the root of the repository."
        option = click.Option(
            ["--config"], metavar="FILE", envvar=self.variable("config"), help=text, callback=self._read, is_eager=True
        )
        option.expose_value = False
        self.params.append(option)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses, and says where a wrong value came from."""
        for name, option in self.settable().items():
            option.envvar = self.variable(name)
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter as error:
            raise self._explained(error, ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; where there is no report to name the settings, standard error does."""
        try:
            return super().invoke(ctx)
        except DoctorError:
            for note in notes(ctx):
                click.echo(f"note: {plain(note)}", err=True)
            raise

    @property
    def table(self) -> str:
        """The table that its settings stand in."""
        return f"{TABLE}.{self.section}" if self.section else TABLE

    def variable(self, name: str) -> str:
        """The environment variable that sets an option of this command."""
        return variable(f"{self.section}-{name}" if self.section else name)

    def settable(self) -> dict[str, click.Option]:
        """The options that may be set elsewhere, by their names without dashes before them."""
        options = {_name(one): one for one in self.params if isinstance(one, click.Option)}
        return {name: one for name, one in options.items() if name not in OF_ONE_RUN}

    def _read(self, ctx: click.Context, _: click.Parameter, named: str | None) -> None:
        """Reads the file before any other option is taken; ``--help`` needs none."""
        if not ctx.resilient_parsing:
            ctx.obj = source = _named(Path(named)) if named else _find(Path.cwd())
            if source.file is not None:
                source.settings = self._own(source.settings, source.file)
                ctx.default_map = _defaults(self, source.settings, source.file)

    def _own(self, settings: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
        """What of our table is this command's: its section, or all that is no section."""
        if not self.section:
            return {name: value for name, value in settings.items() if name not in SECTIONS}
        own = settings.get(self.section, {})
        if not isinstance(own, dict):
            raise UsageFault(f"{file}: {self.table} is not a table.", f"begin it with a line [{self.table}]")
        return own

    def _explained(self, error: click.BadParameter, ctx: click.Context) -> click.ClickException:
        option = error.param
        source = ctx.get_parameter_source(option.name) if option and option.name else None
        if not isinstance(option, click.Option) or source not in (
            ParameterSource.ENVIRONMENT,
            ParameterSource.DEFAULT_MAP,
        ):
            return error
        name = _name(option)
        where = (
            self.variable(name) if source is ParameterSource.ENVIRONMENT else f"{ctx.obj.file}, [{self.table}] {name}"
        )
        found = click.UsageError(f"Invalid value for {where}: {error.message}", ctx)
        found.__cause__ = error
        return found


def notes(ctx: click.Context) -> Iterator[str]:
    """What a reader must know of settings that are not on the command line: where they stand, and what they set."""
    options = {one.name: _name(one) for one in ctx.command.params if isinstance(one, click.Option) and one.name}
    by = {
        source: [name for key, name in options.items() if ctx.get_parameter_source(key) is source]
        for source in (ParameterSource.DEFAULT_MAP, ParameterSource.ENVIRONMENT)
    }
    source = ctx.obj
    if by[ParameterSource.DEFAULT_MAP]:
        told = (f"{name} = {_shown(source.settings[name])}" for name in by[ParameterSource.DEFAULT_MAP])
        yield f"{source.file} sets {', '.join(told)}."
    if by[ParameterSource.ENVIRONMENT]:  # their values may hold secrets, such as an index's password
        name_of = ctx.command.variable if isinstance(ctx.command, Configured) else variable
        yield f"Set by environment variables: {', '.join(map(name_of, by[ParameterSource.ENVIRONMENT]))}."
    for file, why in source.passed_over:
        yield f"{file} is not read: {why}. To read it anyway, name it with --config."


def is_from_file(ctx: click.Context, parameter: str) -> bool:
    """Whether an option has its value from the file."""
    return ctx.get_parameter_source(parameter) is ParameterSource.DEFAULT_MAP


def variable(name: str) -> str:
    """The environment variable that sets an option."""
    return PREFIX + name.upper().replace("-", "_")


def _name(option: click.Option) -> str:
    return max(option.opts, key=len).lstrip("-")


# -- the file ---------------------------------------------------------------------------------------------------------


def _find(folder: Path) -> Source:
    """The nearest ``pyproject.toml`` that has our table, up to the root of the repository."""
    source = Source()
    for one in _folders(folder):
        file = one / "pyproject.toml"
        try:
            text = _text(file, source)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _unreadable(file, error) from error
        if text is not None and (table := _table(file, text)) is not None:
            source.file, source.settings = file, table
            break
    return source


def _folders(folder: Path) -> list[Path]:
    """From a folder to the root of its repository; outside of one, the folder alone."""
    above = [folder, *folder.parents]
    roots = (depth for depth, one in enumerate(above) if any((one / mark).exists() for mark in REPOSITORY))
    return above[: next(roots, 0) + 1]


def _text(file: Path, source: Source) -> bytes | None:
    """What a file holds, unless somebody else may have written it: the very file that is read is looked at."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would wait for a writer
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        if why := ownership.foreign(descriptor) or ownership.foreign(file):
            source.passed_over.append((file, why))
            return None
        return stream.read()


def _named(file: Path) -> Source:
    """A file that the user named is read whoever wrote it; it may set no more than another."""
    file = file.expanduser().absolute()
    try:
        table = _table(file, file.read_bytes())
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}.", "choose another --config") from error
    if table is None:
        raise UsageFault(f"{file} has no table [{TABLE}].", "choose another --config")
    return Source(file, table)


def _unreadable(file: Path, error: OSError) -> UsageFault:
    return UsageFault(
        f"{file} cannot be read: {error.strerror}.", "make it readable, or name another file with --config"
    )


def _table(file: Path, text: bytes) -> Mapping[str, Any] | None:
    try:
        whole = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageFault(
            f"{file} is not valid TOML: {error}.", "correct it, or name another file with --config"
        ) from error
    tools = whole.get("tool", {})
    table = tools.get("ckptdoctor") if isinstance(tools, dict) else None
    if table is not None and not isinstance(table, dict):
        raise UsageFault(f"{file}: {TABLE} is not a table.", f"begin it with a line [{TABLE}]")
    return table


def _defaults(command: Configured, settings: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The settings by the names of click's parameters, each of the right type."""
    found, options = {}, command.settable()
    for name, value in settings.items():
        option = options.get(name)
        if option is None or option.name is None:
            raise UsageFault(f"{file}: [{command.table}] has no setting '{name}'.", _near(name, options))
        if name not in IN_THE_FILE:
            raise _not_here(f"{name} cannot be set in a file", name, file, command)
        found[option.name] = _confined(name, _checked(name, value, option, file, command), file, command)
    return found


def _not_here(what: str, name: str, file: Path, command: Configured) -> UsageFault:
    hint = f"give --{name} on the command line, or set {command.variable(name)}"
    return UsageFault(f"{file}: [{command.table}] {what}.", hint)


def _near(name: str, options: Mapping[str, click.Option]) -> str:
    if name in OF_ONE_RUN:
        return f"give --{name} on the command line only"
    near = get_close_matches(name, options, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(options))}"


def _checked(name: str, value: Any, option: click.Option, file: Path, command: Configured) -> Any:
    if option.is_flag:
        expected, fits = "true or false", isinstance(value, bool)
    elif isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType)):
        whole = isinstance(option.type, click.types.IntParamType)
        expected = "an integer" if whole else "a number"
        fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    elif option.multiple:
        expected, fits = "a string or a list of strings", isinstance(value, str) or _is_texts(value)
    else:
        expected, fits = "a string", isinstance(value, str)
    if not fits:
        raise UsageFault(
            f"{file}: [{command.table}] {name} must be {expected}, not {_shown(value)}.",
            f"see ckptdoctor {command.section or 'check'} -h",
        )
    return [value] if option.multiple and isinstance(value, str) else value


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _confined(name: str, value: Any, file: Path, command: Configured) -> Any:
    """A value that names nothing outside of the file's folder; paths are relative to it, wherever the command is run."""
    if isinstance(value, list):
        return [_confined(name, item, file, command) for item in value]
    if name == "format" and "=" in value:
        raise _not_here(f"format cannot name a file to write: {_shown(value)}", name, file, command)
    if name == "fail-on" and value == "never":
        raise _not_here("fail-on cannot be 'never'", name, file, command)
    if name == "baseline" or (name == "model" and ("/" in value or value.startswith((".", "~")))):
        return _inside(name, value, file, command)
    return value


def _inside(name: str, path: str, file: Path, command: Configured) -> str:
    place, root = file.parent / path, file.parent.resolve()
    if path.startswith("~") or Path(path).is_absolute() or not place.resolve().is_relative_to(root):
        raise _not_here(
            f"{name} cannot name {_shown(path)}, which is outside of the file's folder", name, file, command
        )
    if place.exists() and (why := ownership.foreign(place)):
        raise _not_here(f"{name} names {_shown(path)}, which another user may have changed: {why}", name, file, command)
    return path if file.parent == Path.cwd() else os.path.relpath(place, Path.cwd())
