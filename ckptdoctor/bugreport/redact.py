"""Takes private things out of text: secrets, people, machines, and where files are on them.

Whatever is known of the machine (``Facts``) is replaced wherever it stands and however it is encoded; tokens, addresses and
other people's home folders are recognised by their form. Facts that a maintainer needs stay: versions, files of packages with
their lines, error messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ckptdoctor.bugreport import encodings, forms, secret_names, shapes
from ckptdoctor.bugreport.machine import Facts, is_secret
from ckptdoctor.bugreport.placeholders import TOKEN
from ckptdoctor.bugreport.vocabulary import SHORTEST_PART


class Redactor:
    """Replaces what is private, everywhere by the same placeholders."""

    def __init__(self, known: Facts) -> None:
        self._known = known
        self._secrets = [(name, encodings.secret_pattern(value)) for name, value in known.secrets.items()]
        self._secrets.sort(key=lambda one: -len(one[1].pattern))
        self._folders = encodings.folder_patterns(known.folders)
        self._identities = list(encodings.identity_patterns(known))

    def clean(self, text: str) -> str:
        """The text without what is private; cleaning it once more changes nothing."""
        if not text:
            return text
        for _, pattern in self._secrets:
            text = pattern.sub(TOKEN, text)
        text = forms.hide(text)
        for pattern, placeholder in self._folders:
            text = pattern.sub(placeholder, text)
        text = shapes.hide_places(text)
        for pattern, by in self._identities:
            text = pattern.sub(by, text)
        text = shapes.hide_addresses(text, self._known.versions)
        return shapes.hide_paths(text)

    def clean_json(self, value: Any) -> Any:
        """A copy of plain data with every string in it cleaned, keys too."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, Mapping):
            return {
                self.clean(str(key)): TOKEN if _is_secret_field(str(key), one) else self.clean_json(one)
                for key, one in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.clean_json(one) for one in value]
        return value

    def learn(self, values: Iterable[str], where: str) -> None:
        """Replace from now on, wherever they stand, secrets that were found in a file.

        Args:
            values: The secrets.
            where: What a leak of one is called by.
        """
        for value in values:
            if len(value) >= SHORTEST_PART and is_secret(value, self._known.vocabulary) and TOKEN not in value:
                self._secrets.append((where, encodings.secret_pattern(value)))
        self._secrets.sort(key=lambda one: -len(one[1].pattern))

    def identifier(self, name: str) -> str:
        """A name in a program without the names of people, machines and packages that only their owners know."""
        for pattern, by in self._identities:
            name = pattern.sub(re.sub(r"<([a-z]\w*)>", r"\1", by), name)
        return name

    def leaks(self, text: str) -> list[str]:
        """Names of the variables whose values stand in a text after all."""
        return [name for name, pattern in self._secrets if pattern.search(text)]


def _is_secret_field(key: str, value: Any) -> bool:
    """Whether a field of plain data holds a secret by its name; ``eos_token`` and the like do not."""
    return isinstance(value, str) and value != TOKEN and secret_names.is_secret(key, value)
