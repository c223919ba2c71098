"""Builds the site: ``python -m ckptdoctor.documents FOLDER``. MkDocs is among the packages of the extra ``docs``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ckptdoctor.documents.site import Addresses, build

SITE, REPOSITORY = "SITE_ADDRESS", "SITE_REPOSITORY"
"""Variables that the workflow sets which publishes the site."""


def main() -> None:
    """Build the site into a folder."""
    try:
        build(Path(sys.argv[1]), Addresses(os.environ.get(SITE, ""), os.environ.get(REPOSITORY, "")))
    except ValueError as fault:
        sys.exit(str(fault))


if __name__ == "__main__":
    main()
