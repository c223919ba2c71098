"""Where things of ours lie: the probes, the cache, and how large the cache may grow."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from ckptdoctor.errors import UsageFault
from ckptdoctor.store import ownership

FOLDERS = (
    "bytecode",
    "durations",
    "environments",
    "extensions",
    "fingerprints",
    "overlays",
    "repositories",
    "requests",
    "results",
    "sources",
)
"""All that the cache holds, but for the store of the matrix."""
STORE = "matrix.sqlite"
KNOWLEDGE = "knowledge"
"""The folder of what ``known --extend`` measured, and of what the index said last."""
LOCK = ".in-use"
"""A file that is locked while something in its folder is used: the system lets go of it however a run ends."""
NEW, GONE = ".new-", ".gone-"
"""How the names of folders in the cache begin that are being made, and of what is being deleted."""
CHECKED = ".checked"
"""A file in the cache whose time of change is when its size was last compared with the limit."""
TAG = "CACHEDIR.TAG"
"""Marks a folder as a cache (https://bford.info/cachedir): ours says who made it. Backups leave such folders out."""
_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55\n# This cache was made by ckptdoctor"

LIMIT = "CKPTDOCTOR_CACHE_LIMIT"
DEFAULT_LIMIT = 10 * 10**9
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def probes() -> Path:
    """The folder of the probes: inside the package as installed, beside it in a checkout.

    Raises:
        FileNotFoundError: The installation is not whole.
    """
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "_probes", here.parent / "probes"):
        if (folder / "__main__.py").is_file():
            return folder
    raise FileNotFoundError(f"the probes are missing beside {here}")


def cache() -> Path:
    """The folder for overlays, results and compiled files, which nobody but the user may write or read.

    ``CKPTDOCTOR_CACHE`` names another one. It is made where it is missing; where that fails, what cannot be kept is made
    anew each time.

    Raises:
        UsageFault: Another user may write something in it: code that runs comes out of it, and so do verdicts. Or its
            limit is not a size.
    """
    limit()  # a wrong one is reported before anything runs
    folder = _chosen()
    with suppress(OSError):  # no home, no space: nothing is kept
        folder.mkdir(mode=0o700, parents=True)
    is_ours = _holds_nothing_else(folder)
    for place in (folder, *(folder / name for name in FOLDERS)):
        with suppress(OSError):
            if place.parent == folder:
                place.mkdir(mode=0o700)
        _require_own(place)
    for place in (*folder.glob(f"{STORE}*"), folder / KNOWLEDGE, *folder.glob(f"{KNOWLEDGE}/*")):
        _require_own(place)
    if is_ours:
        _mark(folder)
    return folder


def known_here() -> Path | None:
    """The folder of what ``known --extend`` measured, if it is there and nobody but the user may write it; nothing is made."""
    folder = _chosen() / KNOWLEDGE
    try:
        if folder.is_dir():
            for place in (folder.parent, folder, *folder.iterdir()):
                _require_own(place)
            return folder
    except (OSError, UsageFault):
        pass
    return None


def is_marked(folder: Path) -> bool:
    """Whether ckptdoctor made this folder to be a cache: nothing is deleted from any other."""
    tag = folder / TAG
    try:
        return (
            stat.S_ISREG(tag.lstat().st_mode) and not ownership.foreign(tag) and tag.read_bytes().startswith(_SIGNATURE)
        )
    except OSError:
        return False


def limit() -> int | None:
    """The bytes that the cache may hold; none where it may grow without end.

    Raises:
        UsageFault: The variable that sets it is not a size.
    """
    text = os.environ.get(LIMIT, "").strip().upper()
    if text == "NONE":
        return None
    size = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) *(?:([KMGT]I?)?B?)", text)
    if text and not size:
        raise UsageFault(f"{LIMIT} is not a size.", "write it like 10GB, 500MB or 2GiB; `none` is no limit")
    return int(float(size[1]) * _UNITS[size[2] or ""]) if size else DEFAULT_LIMIT


def mark_used(place: Path) -> None:
    """Note that something in the cache is used now: what was not used for longest is dropped first."""
    with suppress(OSError):
        os.utime(place)


def _holds_nothing_else(folder: Path) -> bool:
    """Whether a folder without a mark is empty, or is a whole cache of an earlier release."""
    try:
        names = set(os.listdir(folder))  # noqa: PTH208 - names are all that matters
    except OSError:
        return False
    if TAG in names or (names and not names.issuperset(FOLDERS)):
        return False
    return all(name in (*FOLDERS, KNOWLEDGE) or name.startswith((STORE, LOCK, NEW, GONE)) for name in names)


def _mark(folder: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(folder / TAG, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_SIGNATURE + b": `ckptdoctor cache` shows what it holds.\n")


def _chosen() -> Path:
    chosen = os.environ.get("CKPTDOCTOR_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("ckptdoctor"))


def _require_own(place: Path) -> None:
    """Refuse what another user may write, by itself or by way of a folder above it; shut out readers of our own folders."""
    try:
        why = ownership.foreign(place)
        above = next((one for one in place.resolve().parents if _is_open(one)), None)
    except OSError:  # not there
        return
    why = why or (f"every user may replace what lies in {above}" if above else "")
    if why:
        raise UsageFault(
            f"{place} is not used as a cache: {why}.",
            "set CKPTDOCTOR_CACHE to a folder that only you may write",
        )
    if place.name in FOLDERS:
        with suppress(OSError):  # root's, which may be read
            place.chmod(0o700)


def _is_open(folder: Path) -> bool:
    mode = folder.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX
