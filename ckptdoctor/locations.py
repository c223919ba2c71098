"""Where things of ours lie: the probes, the cache."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from ckptdoctor import ownership
from ckptdoctor.errors import UsageFault

FOLDERS = ("bytecode", "environments", "extensions", "kinds", "overlays", "requests", "results")
"""All that the cache holds, but for the store of the matrix."""
STORE = "matrix.sqlite"


def probes() -> Path:
    """The folder of the probes: inside the package as installed, beside it in a checkout.

    Raises:
        FileNotFoundError: The installation is not whole.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "_probes", here.parent / "probes"):
        if (folder / "__main__.py").is_file():
            return folder
    raise FileNotFoundError(f"the probes are missing beside {here}")


def cache() -> Path:
    """The folder for overlays, results and compiled files, which nobody but the user may write or read.

    ``CKPTDOCTOR_CACHE`` names another one. It is made where it is missing; where that fails, what cannot be kept is made
    anew each time.

    Raises:
        UsageFault: Another user may write something in it: code that runs comes out of it, and so do verdicts.
    """
    folder = _chosen()
    with suppress(OSError):  # no home, no space: nothing is kept
        folder.mkdir(mode=0o700, parents=True)
    for place in (folder, *(folder / name for name in FOLDERS)):
        with suppress(OSError):
            if place.parent == folder:
                place.mkdir(mode=0o700)
        _require_own(place)
    for place in folder.glob(f"{STORE}*"):
        _require_own(place)
    return folder


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
