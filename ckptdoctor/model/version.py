"""The release of ckptdoctor, for what says by which release it was made."""

__version__ = "0.1.0"
