"""The changelog of a release, for its page: ``release_notes.py TAG``. Fails if the tag is not the version."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Print the section of the changelog that has the tag's version."""
    tag = sys.argv[1]
    [version] = re.findall(r'^__version__ = "(.+)"$', (ROOT / "ckptdoctor/model/version.py").read_text(), re.MULTILINE)
    if tag != f"v{version}":
        sys.exit(f"The tag is {tag}, and ckptdoctor/model/version.py says {version}.")
    sections = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {heading.split()[0]: text.strip() for heading, _, text in (one.partition("\n") for one in sections)}
    if not found.get(version):
        sys.exit(f"CHANGELOG.md has no section '## {version}' with text.")
    sys.stdout.write(f"{found[version]}\n")


if __name__ == "__main__":
    main()
