"""A job of ms-swift's Megatron commands, of which nothing can be judged."""

from __future__ import annotations

from ckptdoctor.job.format import Format
from ckptdoctor.job.formats.swift import read_megatron

FORMAT = Format(name="swift-megatron", title="ms-swift's Megatron trainer", read=read_megatron, is_read=False)
