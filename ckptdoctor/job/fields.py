"""Settings of a job, each read as the type that its trainer takes, with a clear error for any other type."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ckptdoctor.errors import UsageFault
from ckptdoctor.job import json_text, settings_text
from ckptdoctor.words.wording import listed

_YES = {"true", "t", "yes", "y", "on", "1"}
_NO = {"false", "f", "no", "n", "off", "0"}


class Fields:
    """The settings of a file, or of a section of it."""

    def __init__(
        self,
        source: str,
        values: Mapping[str, Any],
        prefix: str = "",
        is_lenient: bool = False,
        unresolved: Mapping[str, str] | None = None,
    ) -> None:
        """Take the settings.

        Args:
            source: The file, for messages.
            values: The settings.
            prefix: The section's name with a dot, for messages.
            is_lenient: The trainer takes ``"true"`` and 1 for true, as pydantic does.
            unresolved: Settings whose values a script leaves open, each with the variable; the dotted names of all sections.
        """
        self.source, self.values = source, values
        self._prefix, self._is_lenient = prefix, is_lenient
        self._unresolved = unresolved if unresolved is not None else {}
        self._missed: dict[str, str] = {}

    def leniently(self) -> Fields:
        """The same settings, for a trainer that takes ``"true"`` and 1 for true."""
        return self._like(self.values, self._prefix, is_lenient=True)

    def replaced(self, name: str, value: object) -> Fields:
        """The same settings but for one."""
        return self._like({**self.values, name: value}, self._prefix, self._is_lenient)

    def renamed(self, names: Mapping[str, str]) -> Fields:
        """The same settings with other names; a setting that has the new name already goes first."""
        taken = {names.get(key, key): value for key, value in self.values.items()}
        made = self._like({**taken, **{key: self.values[key] for key in names.values() if key in self.values}})
        made._unresolved = {names.get(key, key): what for key, what in self._unresolved.items()}
        return made

    def without_prefix(self, prefix: str) -> Fields:
        """The same settings without a prefix that some of their names have."""
        return self._like({key.removeprefix(prefix): value for key, value in self.values.items()})

    def missed(self) -> dict[str, str]:
        """Settings that were read, and whose values the script leaves open, each with the variable."""
        return dict(self._missed)

    def _like(self, values: Mapping[str, Any], prefix: str | None = None, is_lenient: bool | None = None) -> Fields:
        is_lenient = self._is_lenient if is_lenient is None else is_lenient
        prefix = self._prefix if prefix is None else prefix
        made = Fields(self.source, values, prefix, is_lenient, self._unresolved)
        made._missed = self._missed  # what is missed anywhere is missed in the job
        return made

    def _get(self, name: str) -> Any:
        key = f"{self._prefix}{name}"
        if key in self._unresolved:
            self._missed[key] = self._unresolved[key]
        return self.values.get(name)

    def says(self, name: str) -> bool:
        """Whether a setting is present; null counts as absent, as for the trainers."""
        return self._get(name) is not None

    def asks_for(self, name: str) -> bool:
        """Whether a setting is present, and not false, zero or empty."""
        value = self._get(name)
        return bool(value) and not (self._is_lenient and isinstance(value, str) and value.lower() in _NO)

    def flag(self, name: str, default: bool = False) -> bool:
        """A setting that is true or false."""
        return bool(self.switch(name, (), default))

    def switch(self, name: str, words: Collection[str], default: bool | str = False) -> bool | str:
        """A setting that is true, false, or one of some words."""
        value = self._get(name)
        if value is None:
            return default
        if isinstance(value, bool) or (isinstance(value, str) and value in words):
            return value
        if self._is_lenient and isinstance(value, (str, int)) and str(value).lower() in _YES | _NO:
            return str(value).lower() in _YES
        raise self.fault(name, listed(["true", "false", *words], 9).replace(" and ", " or "))

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        """A setting that is one of some words."""
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, str) or value not in choices:
            raise self.fault(name, listed(list(choices), 9).replace(" and ", " or "))
        return value

    def whole(self, name: str, default: int = 0) -> int:
        """A setting that is a whole number."""
        value = self._get(name)
        if value is None:
            return default
        if self._is_lenient and isinstance(value, str) and value.strip().lstrip("-").isdecimal():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fault(name, "a whole number")
        return value

    def text(self, name: str) -> str:
        """A setting that is a text, or empty."""
        value = self._get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.fault(name, "a text")
        return value.strip()

    def names(self, name: str) -> tuple[str, ...]:
        """A setting that is a list of names, or one text with commas between them."""
        value = self._get(name)
        listed_ = value.split(",") if isinstance(value, str) else value or ()
        if not isinstance(listed_, (list, tuple)) or not all(isinstance(one, str) for one in listed_):
            raise self.fault(name, "a list of names")
        return tuple(dict.fromkeys(filter(None, (one.strip() for one in listed_))))

    def section(self, name: str) -> Fields:
        """A setting that is itself a mapping of settings, or the same as a text of JSON; empty where there is none."""
        value = self._get(name)
        is_text = False
        if isinstance(value, str) and value.startswith("{"):
            is_text = True
            value = json_text.parse_json(value, f"`{self._prefix}{name}` of {self.source}")
        if value is None or value == "":
            value = {}
        if not isinstance(value, Mapping):
            raise self.fault(name, "a mapping of settings")
        # transformers turns "true" into true in such a text, and in no mapping.
        return self._like(value, f"{self._prefix}{name}.", is_lenient=is_text)

    def untried(self, reasons: Mapping[str, str]) -> list[str]:
        """A sentence for each reason for which settings that are asked for cannot be tried."""
        return self._together({name: reason for name, reason in reasons.items() if self.asks_for(name)})

    def beyond_one(self, reasons: Mapping[str, str]) -> list[str]:
        """The same for settings that are a number of things, and usual with one."""
        values = self.values
        asked = {name: why for name, why in reasons.items() if isinstance(values.get(name), int) and values[name] > 1}
        return self._together(asked)

    def others(self, known: Iterable[str], reason: str) -> list[str]:
        """The same for every setting but those that are known."""
        names = [name for name in self.values if name not in known and settings_text.is_plain(name)]
        return self._together(dict.fromkeys(names, reason))

    def sentence(self, name: str, reason: str) -> str:
        """The sentence on a setting."""
        return self.sentence_of([name], reason)

    def sentence_of(self, names: Iterable[str], reason: str) -> str:
        """The sentence on settings with the same effect."""
        return f"{', '.join(f'`{self._prefix}{name}`' for name in names)}: {reason}"

    def _together(self, asked: Mapping[str, str]) -> list[str]:
        names: dict[str, list[str]] = {}
        for name, reason in asked.items():
            names.setdefault(reason, []).append(name)
        return [self.sentence_of(found, reason) for reason, found in names.items()]

    def fault(self, name: str, wanted: str) -> UsageFault:
        """The setting has the wrong type. Its value is not repeated: it may be a secret in the wrong place."""
        return UsageFault(f"`{self._prefix}{name}` in {self.source} is not {wanted}.", f"make it {wanted}")
