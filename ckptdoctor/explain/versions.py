"""Which releases ran, according to a text: lists of packages, reports of tools, file names, statements in prose.

A release counts only if the text states that it ran. Advice, attempts and reports about other environments do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ckptdoctor import catalog
from ckptdoctor.explain.lines import Line
from ckptdoctor.model.explanation import Seen

_NAMES = {
    **{spelling: package for package, one in catalog.trainers().items() for spelling in (package, *one.spellings)},
    **{name: name for name in (*catalog.packages().stack, *catalog.packages().seen)},
    **catalog.packages().spellings,
}
"""Packages to search for, by spelling; a hyphen also matches an underscore."""

_SPELLED = "|".join(re.escape(name).replace(r"\-", "[-_]") for name in sorted(_NAMES, key=len, reverse=True))
_ANY = re.compile(rf"(?:{_SPELLED}).{{0,200}}\d", re.IGNORECASE)
_VERSION = (
    r"\d{1,5}(?:\.\d{1,6}){1,4}(?:\.?(?:post|dev|rc|a|b)\d{0,10}){0,2}(?:\+[A-Za-z0-9.]{1,40})?(?!\.?\d)(?!\.?[x*])"
)
_NAMED = re.compile(
    rf"""(?<![\w.@-])(?P<name>{_SPELLED})
    (?:\[[\w,\ -]{{0,80}}\])?
    [`*"']{{0,3}}
    (?:
        \s{{0,3}}===?\s{{0,3}}          # requirements
      | ,?\s{{1,40}}version(?:\s\([^)\n]{{0,20}}\))?(?:\sis)?\s{{0,40}}:?\s{{1,40}}  # reports of tools
      | \s{{0,40}}[:|]\s{{0,40}}        # tables
      | \s{{2,80}}|\t                   # pip list
      | (?P<prose>[ ])                 # prose
      | =(?!=)                         # conda list --export
      | -(?=\d)                        # file names
    )
    [`*"']{{0,3}}v?(?P<version>{_VERSION})(?![A-Za-z_])""",
    re.VERBOSE | re.IGNORECASE,
)
_FILE = re.compile(
    rf"(?<![\w.@-])(?P<name>{_SPELLED})-(?P<version>{_VERSION})(?=\.dist-info|\.egg|-py|-cp|\.tar)", re.IGNORECASE
)
_NOT_INSTALLED = re.compile(
    r"requires|required|requirement|uninstall|existing installation|but you|not installed|collecting|downloading|using cached"
    r"|satisfied|需要|要求",
    re.IGNORECASE,
)
"""Lines that name a release which is required, or was installed before."""

_PIP_SAYS = re.compile(
    rf"but you (?:have|'ll have|will have) (?P<name>{_SPELLED}) (?P<version>{_VERSION})(?![A-Za-z_])", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z\u4e00-\u9fff]{2,}")
_ADVICE = re.compile(
    r"\b(?:please(?! find| see| help)|try|tried|trying|should|must|needs?|needed|you|your|could|recommend\w*|suggest\w*"
    r"|advi[sc]e\w*"
    r"|upgrad\w+|downgrad\w+|updat\w+|roll\w* ?back|revert\w*|switch\w*|pin(?:s|ned|ning)?|chang\w+|bump\w*|instead"
    r"|fix(?:e[sd]|ing)?|solv\w+|resolv\w+|work(?:s|ed|ing)?|fine(?![- ]tun)|helps?|helped|no longer|went away"
    r"|disappear\w*|now|later"
    r"|since|until|before|prior|older|newer|above|below|minimum|at least|support\w*|introduced|removed"
    r"|onwards?"
    r"|ok|success(?!fully installed)\w*|trains|tested|same|(?:no|without(?: any)?) (?:problem|error|issue)s?"
    r"|install(?:ing|s)?|uv add|only|last|previous\w*|earlier|compatible|incompatible|compare\w*|releases? notes|changelog)\b"
    r"|^\W*use\b|请|建议|升级|降级|降到|降一下|降低|回退|更新|改成|改为|换成|试试|尝试|可以|解决|正常|支持|以上|以下|推荐|最好",
    re.IGNORECASE,
)
"""Words of sentences that name a release which is available, was tried, or belongs to somebody else."""

_RAN = re.compile(
    r"\b(?:I|I'm|we|we're|my|our|using|use|running|run|installed|env|environment|versions?|fail\w*|crash\w*|raises?|get|got)\b"
    r"|使用|环境|版本|我用|我的|报错",
    re.IGNORECASE,
)
"""Words of sentences that state which release ran."""

_SENTENCE_ENDS = re.compile(r"(?<=[.!?;])\s+|[\u3002\uff01\uff1f\uff1b]")
_FENCE = re.compile(r"^\s*(?:```|~~~)")
_LONGEST = 120
_LONGEST_SENTENCE = 400
_MOST = 5
"""Mentions of a release that are kept."""

_MOST_RELEASES = 50
"""Releases of a package that are kept; with two or more, nothing is claimed."""


def find(lines: Iterable[Line]) -> dict[str, list[Seen]]:
    """The releases by package, in the order of the text."""
    found: dict[str, dict[str, list[str]]] = {}
    advice = _Advice()
    for line in lines:
        advice.read(line.text)
        for name, version in _named(line.text, advice):
            releases = found.setdefault(name, {})
            where = releases.setdefault(version, []) if len(releases) < _MOST_RELEASES else releases.get(version, [])
            if len(where) < _MOST:
                where.append(f"line {line.number}: {' '.join(line.text.split())[:_LONGEST]}")
    return {name: [Seen(version, where) for version, where in each.items()] for name, each in found.items()}


class _Advice:
    """Whether a line belongs to advice: to a sentence that continues, or to a list that a sentence announces."""

    def __init__(self) -> None:
        self.before = ""
        """The start of the sentence that a line continues; empty if the line starts one."""
        self._unfinished = ""
        self._intro = ""
        self._in_list = False
        self._in_fence = False

    def read(self, text: str) -> None:
        """Read the next line."""
        self.before, self._unfinished = self._unfinished, ""
        if _FENCE.match(text):
            self._in_fence = self._in_list = not self._in_fence
            if not self._in_fence:
                self._intro = ""
        elif not text.strip():
            self._in_list = self._in_fence
        elif self._in_fence or not _is_prose(text):
            self._in_list = True
        else:
            self._in_list, self._intro = False, f"{self.before} {text}"[-_LONGEST_SENTENCE:]
            self._unfinished = self._intro if text[-1].isalnum() or text[-1] in ",(-`" else ""

    def is_listed(self) -> bool:
        """Whether the line is in a list or a block that was announced as advice."""
        return self._in_list and bool(_ADVICE.search(_SENTENCE_ENDS.split(self._intro)[-1]))


def _is_prose(text: str) -> bool:
    """Whether a line is more than an entry of a list."""
    if text.endswith(":") or not text.isascii():
        return True
    return sum(word[0].isalpha() and "==" not in word for word in text.split()) > 2


def _named(text: str, advice: _Advice) -> list[tuple[str, str]]:
    if not _ANY.search(text):
        return []
    if _NOT_INSTALLED.search(text):
        # In such a line, only installed packages that pip reports, or paths on disk, count.
        matches = [*_PIP_SAYS.finditer(text), *_FILE.finditer(text if "dist-info" in text else "")]
        return _pairs(matches)
    stated = [found for found in _NAMED.finditer(text) if _states_what_ran(text, found, advice)]
    return _pairs([*stated, *_FILE.finditer(text)])


def _pairs(matches: Iterable[re.Match[str]]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((_package(found["name"]), found["version"]) for found in matches))


def _states_what_ran(text: str, found: re.Match[str], advice: _Advice) -> bool:
    if advice.is_listed():
        return False
    begins = max((one.end() for one in _SENTENCE_ENDS.finditer(text, 0, found.start())), default=0)
    ends = next((one.start() for one in _SENTENCE_ENDS.finditer(text, found.end())), len(text))
    sentence = text[begins:ends] if begins else f"{_SENTENCE_ENDS.split(advice.before)[-1]} {text[:ends]}"
    if _ADVICE.search(sentence):
        return False
    return not found["prose"] or bool(_RAN.search(sentence)) or len(_WORD.findall(_NAMED.sub(" ", sentence))) < 3


def _package(name: str) -> str:
    return _NAMES[name.lower().replace("_", "-")]


def only(seen: list[Seen]) -> str:
    """The one release that is named, or nothing if there are several; 4.51 and 4.51.3 do not contradict."""
    names = sorted((one.version for one in seen), key=len)
    if not names:
        return ""
    last = names[-1]
    return last if all(_agree(name, last) for name in names) else ""


def _agree(short: str, long: str) -> bool:
    return long == short or long.startswith((f"{short}.", f"{short}+"))
