"""What is set outside of the command line: ``[tool.ckptdoctor]`` in ``pyproject.toml``, and ``CKPTDOCTOR_*`` variables.

Every option of a command may be set there under its own name, but for those that are of one run only. Options win over
variables, and variables over the file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ckptdoctor.errors import UsageFault

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = "tool.ckptdoctor"
PREFIX = "CKPTDOCTOR_"
OF_ONE_RUN = ("output", "no-cache", "update-baseline", "help")
"""Options that make no sense but on the command line."""
FILES = ("baseline",)
"""Options that name a file that may not be there yet."""
PATHS = ("python", "model", "checkpoint-fn", "job")
"""Options that take a path or a name."""


class Configured(click.Command):
    """A command whose options may be set in a file and by variables."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Reads the file and names the variables before anything is parsed; ``--help`` needs neither."""
        if not set(args) & {"--help", "-h"}:
            file, settings = _find(Path.cwd())
            extra.setdefault("default_map", _defaults(self.settable(), settings, file))
            extra.setdefault("obj", file)
        return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses, and says where a wrong value came from."""
        for name, option in self.settable().items():
            option.envvar = variable(name)
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter as error:
            raise self._explained(error, ctx) from error

    def settable(self) -> dict[str, click.Option]:
        """The options that may be set elsewhere, by their names without dashes before them."""
        options = {_name(one): one for one in self.params if isinstance(one, click.Option)}
        return {name: one for name, one in options.items() if name not in OF_ONE_RUN}

    def _explained(self, error: click.BadParameter, ctx: click.Context) -> click.ClickException:
        option = error.param
        source = ctx.get_parameter_source(option.name) if option and option.name else None
        if not isinstance(option, click.Option) or source not in (
            ParameterSource.ENVIRONMENT,
            ParameterSource.DEFAULT_MAP,
        ):
            return error
        name = _name(option)
        where = variable(name) if source is ParameterSource.ENVIRONMENT else f"{ctx.obj}, [{TABLE}] {name}"
        found = click.UsageError(f"Invalid value for {where}: {error.message}", ctx)
        found.__cause__ = error
        return found


def variable(name: str) -> str:
    """The environment variable that sets an option."""
    return PREFIX + name.upper().replace("-", "_")


def _name(option: click.Option) -> str:
    return max(option.opts, key=len).lstrip("-")


# -- the file ---------------------------------------------------------------------------------------------------------


def _find(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The nearest ``pyproject.toml``, from a folder upwards, that has our table."""
    for one in (folder, *folder.parents):
        file = one / "pyproject.toml"
        if (table := _table(file)) is not None:
            return file, table
    return folder / "pyproject.toml", {}


def _table(file: Path) -> Mapping[str, Any] | None:
    try:
        whole = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}.", "it may hold settings of ckptdoctor") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageFault(f"{file} is not valid TOML: {error}.", "it may hold settings of ckptdoctor") from error
    tools = whole.get("tool", {})
    table = tools.get("ckptdoctor") if isinstance(tools, dict) else None
    if table is not None and not isinstance(table, dict):
        raise UsageFault(f"{file}: {TABLE} is no table.", f"begin it with a line [{TABLE}]")
    return table


def _defaults(options: Mapping[str, click.Option], settings: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The settings by the names of click's parameters, each of the right type."""
    found = {}
    for name, value in settings.items():
        option = options.get(name)
        if option is None or option.name is None:
            raise UsageFault(f"{file}: [{TABLE}] has no setting '{name}'.", _near(name, options))
        found[option.name] = _local(name, _checked(name, value, option, file), file)
    return found


def _near(name: str, options: Mapping[str, click.Option]) -> str:
    if name in OF_ONE_RUN:
        return f"--{name} is of one run: give it on the command line"
    near = get_close_matches(name, options, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(options))}"


def _checked(name: str, value: Any, option: click.Option, file: Path) -> Any:
    if option.is_flag:
        wanted, fits = "true or false", isinstance(value, bool)
    elif isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType)):
        whole = isinstance(option.type, click.types.IntParamType)
        wanted = "a whole number" if whole else "a number"
        fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    elif option.multiple:
        wanted, fits = "text or a list of texts", isinstance(value, str) or _is_texts(value)
    else:
        wanted, fits = "text", isinstance(value, str)
    if not fits:
        raise UsageFault(f"{file}: [{TABLE}] {name} must be {wanted}, not {_shown(value)}.", "see ckptdoctor check -h")
    return [value] if option.multiple and isinstance(value, str) else value


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _local(name: str, value: Any, file: Path) -> Any:
    """Paths in the file are relative to it, wherever in the project the command is run."""
    if isinstance(value, list):
        return [_local(name, item, file) for item in value]
    if not isinstance(value, str) or file.parent == Path.cwd():
        return value
    if name == "format":
        kind, equals, target = value.partition("=")
        return f"{kind}={_moved(target, file)}" if equals else value
    if name in FILES or (name in PATHS and ("/" in value or value.startswith("."))):
        return _moved(value, file)
    return value


def _moved(path: str, file: Path) -> str:
    if Path(path).expanduser().is_absolute():
        return path
    return os.path.relpath(file.parent / path, Path.cwd())
