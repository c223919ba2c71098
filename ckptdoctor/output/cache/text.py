"""What the cache holds, for people."""

from __future__ import annotations

from ckptdoctor.output import Style
from ckptdoctor.output.layout import page
from ckptdoctor.output.views.sizes import size, table
from ckptdoctor.store.cache_contents import Cache
from ckptdoctor.store.locations import KNOWLEDGE, STORE
from ckptdoctor.words.escape import plain


def render(cache: Cache, style: Style) -> str:
    """Prints where the cache is, how many entries and bytes of each sort it holds, and its limit."""
    limit = "none" if cache.limit is None else f"{size(cache.limit)}, {STORE} and {KNOWLEDGE} not counted"
    foreign = (
        "" if cache.is_ours else "ckptdoctor did not make this folder. It deletes nothing there and keeps no limit."
    )
    last = [f"limit: {limit}", *filter(None, [foreign])]
    text = page([[str(cache.folder)], table(cache.entries, every_kind=True), last])
    return plain(text, ascii_only=not style.unicode)
