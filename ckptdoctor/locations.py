"""Where things of ours lie: the probes, the cache."""

from __future__ import annotations

import os
from pathlib import Path


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
    """The folder for overlays, results and compiled files; ``CKPTDOCTOR_CACHE`` names another one."""
    chosen = os.environ.get("CKPTDOCTOR_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("ckptdoctor"))
