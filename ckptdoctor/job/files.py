"""Loads job files safely, with a clear error if a file cannot be read.

A message shows only the names of keys from a file: values may be tokens.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

from ckptdoctor.errors import UsageFault
from ckptdoctor.job.json_text import parse_json
from ckptdoctor.job.yaml_text import parse_yaml

LARGEST = 256 * 1024
"""Bytes; real jobs have a few thousand."""

SCRIPTS = (".sh", ".bash", ".zsh", ".slurm", ".sbatch")
"""Endings of scripts whose commands are read."""

OTHER_SCRIPTS = (".py", ".ps1", ".bat")
"""Endings of scripts that are not read."""

_SHELLS = re.compile(r"#!.*\b(?:ba|z|da|k)?sh\b")


def load(path: str) -> dict[str, Any]:
    """The settings in a job file, YAML or JSON by its name as the trainers tell it, otherwise by how it begins.

    Raises:
        StrictFault: It is JSON with comments, which DeepSpeed reads, or YAML with tabs between words, as OmegaConf takes it.
        UsageFault: It cannot be read, or holds no settings.
    """
    return parse(text_of(path), path)


def is_script(text: str, path: str) -> bool:
    """Whether a file is a shell script, by its name or its first line."""
    return path.endswith(SCRIPTS) or bool(_SHELLS.match(text))


def parse(text: str, path: str) -> dict[str, Any]:
    """The settings in the text of a job file, as ``load`` reads them.

    Raises:
        StrictFault: As ``load`` raises it.
        UsageFault: It holds no settings.
    """
    if path.endswith(OTHER_SCRIPTS) or text.startswith("#!"):
        hint = "give the YAML or JSON file that it passes to the trainer, or write its arguments into one"
        raise UsageFault(f"{path} is a script in another language than the shell's.", hint)
    is_json = path.endswith(".json") or (not path.endswith((".yaml", ".yml")) and text.lstrip().startswith("{"))
    return parse_json(text, path) if is_json else parse_yaml(text, path)


def load_json(path: str, kind: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: Where it lies.
        kind: What it should be, for a message: ``a configuration of DeepSpeed``.

    Raises:
        UsageFault: It cannot be read, or holds no object.
    """
    return parse_json(text_of(path, kind), path)


def text_of(path: str, kind: str = "a training job") -> str:
    """The text in a file, which may have up to ``LARGEST`` bytes.

    Raises:
        UsageFault: There is no such file, or no text in it.
    """
    if not path:
        raise UsageFault(f"The path of {kind} is empty.", f"give the path of {kind}")
    try:
        content = _content(Path(path), path, kind)
    except FileNotFoundError as error:
        hint = "paths are taken from the folder that the job is started in"
        raise UsageFault(f"There is no file {path}.", hint) from error
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        reason = getattr(error, "strerror", None) or "it is no path"
        raise UsageFault(f"{path} cannot be read: {reason}.", f"give the path of {kind}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageFault(f"{path} is not a text file in UTF-8.", f"give the path of {kind}") from error
    if "\0" in text:
        raise UsageFault(f"{path} is a binary file.", f"give the path of {kind}")
    return text


def _content(file: Path, path: str, kind: str) -> bytes:
    mode = file.stat().st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise UsageFault(f"{path} is {what}.", f"give the path of {kind}")
    with file.open("rb") as handle:
        content = handle.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise UsageFault(f"{path} is larger than {LARGEST // 1024} KiB. Job files are smaller.", f"give {kind}")
    return content
