"""What the build adds: man pages, made from the command line, and the address of the repository that builds a release."""

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

REPOSITORY, TAG = "RELEASE_REPOSITORY", "RELEASE_TAG"
"""Variables that the workflow of a release sets. Without them nothing is claimed: no copy names a repository it is not from."""

PAGES = {
    "Changelog": "blob/{tag}/CHANGELOG.md",
    "Documentation": "tree/{tag}/docs",
    "Issues": "issues",
    "Repository": "",
}


class ManPages(BuildHookInterface):
    """Adds a man page for each command to the wheel, as ``share/man/man1``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the pages; an editable install has none."""
        if version == "editable":
            return
        sys.dont_write_bytecode = True
        sys.path.insert(0, self.root)
        from ckptdoctor.manual import pages

        self._folder = tempfile.TemporaryDirectory()
        for name, text in pages().items():
            file = Path(self._folder.name, name)
            file.write_text(text, encoding="utf-8")
            build_data["shared_data"][str(file)] = f"share/man/man1/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the pages from the temporary folder."""
        if version != "editable":
            self._folder.cleanup()


class Addresses(MetadataHookInterface):
    """Names the repository's pages. The readme of a release installs the release, and its links are absolute."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the readme and, for a release, the addresses."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        repository, tag = os.environ.get(REPOSITORY), os.environ.get(TAG)
        if repository and tag:
            metadata["urls"] = {
                name: f"{repository}/{page.format(tag=tag)}".rstrip("/") for name, page in PAGES.items()
            }
            sys.path.insert(0, self.root)
            from ckptdoctor.documents.installing import replaced

            readme = absolute(replaced(readme, release=True), repository, tag)
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}


def absolute(text: str, repository: str, tag: str) -> str:
    """Markdown whose links and images to files of the repository name the file of a release."""

    def replaced(found: re.Match[str]) -> str:
        kind = "raw" if found["image"] else "blob"
        return f"{found['image']}[{found['text']}]({repository}/{kind}/{tag}/{found['file']})"

    return re.sub(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?![a-z]+:|#)(?P<file>[^)\s]+)\)", replaced, text)
