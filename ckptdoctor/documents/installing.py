"""The lines that install ckptdoctor: a copy of the repository, a site and a release each name what works there."""

from __future__ import annotations

import re

from ckptdoctor.model.version import __version__

BEGIN, END = "<!-- install -->", "<!-- /install -->"
"""Around what is replaced. In the repository, it says how to install a copy: there is no release, and no known address."""

_PART = re.compile(rf"{BEGIN}\n.*?\n{END}", re.DOTALL)


def replaced(text: str, repository: str = "", release: bool = False) -> str:
    """A document whose lines to install ckptdoctor work for its readers.

    Args:
        text: Markdown.
        repository: The address of the repository; empty if it is not known.
        release: Whether the document belongs to a release, which is on PyPI.
    """
    if release:
        return _PART.sub(f"```bash\npipx install ckptdoctor=={__version__}\n```", text)
    if repository:
        return _PART.sub(f"```bash\npipx install git+{repository}\n```", text)
    return text
