"""What a rehearsed job could not load: configurations, tokenizers and data sets, each in a sentence with the next step."""

from __future__ import annotations

from pathlib import Path

import msgspec

MISSING = "missing-*.json"

FETCH = {
    "configuration": "hf download {} config.json",
    "tokenizer": 'hf download {} --include "*.json" "*.txt" "*.model" "*.jinja"',
    "dataset": "hf download {} --repo-type dataset",
}
"""Commands that download what is missing, on a machine with a network; no weights among it."""


class Missing(msgspec.Struct, frozen=True):
    """What could not be loaded.

    Attributes:
        kind: ``configuration``, ``tokenizer`` or ``dataset``.
        name: As the job names it.
        error: What loading it ended in.
    """

    kind: str
    name: str
    error: str


def sentences(folder: Path) -> list[str]:
    """What the processes of a job could not load, each said once."""
    said: dict[str, None] = {}
    for file in sorted(folder.glob(MISSING)):
        try:
            found = msgspec.json.decode(file.read_bytes(), type=list[Missing])
        except (OSError, msgspec.MsgspecError):
            continue
        said.update(dict.fromkeys(map(_sentence, found)))
    return list(said)


def _sentence(missing: Missing) -> str:
    name = missing.name
    what = {"dataset": "data set"}.get(missing.kind, missing.kind)
    if Path(name).exists():
        return f"{name} holds no {what} that the job can load: {missing.error}"
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        return f"There is no {what} at {name}: name a folder that exists."
    return (
        f"The {what} of {name} is not on this machine, and the hub did not give it. Download it where there is a network:"
        f" {FETCH.get(missing.kind, FETCH['configuration']).format(name)}"
    )
