"""Hosts that everybody uses: a name of one tells nothing about the user."""

from __future__ import annotations

from ckptdoctor import catalog

PUBLIC_HOSTS = (
    "arxiv.org", "anaconda.com", "anaconda.org", "aka.ms", "apache.org", "cppreference.com", "debian.org",
    "deepspeed.ai", "discuss.pytorch.org", "docker.com", "docs.rs", "github.com", "github.io", "githubusercontent.com",
    "gitlab.com", "google.com", "hf.co", "huggingface.co", "intel.com", "json-schema.org", "localhost", "microsoft.com",
    "mozilla.org", "msgspec.dev", "numpy.org", "nvidia.com", "openai.com", "pydantic.dev", "pypa.io", "pypi.org", "python.org",
    "pythonhosted.org", "pytorch.org", "readthedocs.io", "scipy.org", "stackoverflow.com", "w3.org",
    "docs.wandb.ai", "wikipedia.org",
    *(host for trainer in catalog.trainers().values() for host in trainer.hosts),
)  # fmt: skip
"""Hosts, with all below them, that tell nothing about who names them."""

PRIVATE_PATHS = ("docs.google.com", "drive.google.com", "sheets.google.com", "storage.google.com")
"""Public hosts whose paths tell of those who use them."""


def is_public(host: str) -> bool:
    """Whether a host is one that everybody uses."""
    name = host.lower().strip(".")
    return any(name == public or name.endswith(f".{public}") for public in PUBLIC_HOSTS)
