"""What the cache holds, as JSON; sizes in bytes."""

from __future__ import annotations

from ckptdoctor.output import Style
from ckptdoctor.output.plain_json import indented
from ckptdoctor.output.views.sizes import by_kind
from ckptdoctor.store.cache_contents import Cache

SCHEMA = "ckptdoctor/cache/1"


def render(cache: Cache, style: Style) -> str:
    """Prints the same as the text, for machines; ``style`` is ignored."""
    return indented(
        {
            "schema": SCHEMA,
            "cache": str(cache.folder),
            "made_by_ckptdoctor": cache.is_ours,
            "limit": cache.limit,
            "bytes": sum(one.size for one in cache.entries),
            "entries": len(cache.entries),
            "kinds": [
                {"name": name, "description": what, "entries": count, "bytes": total}
                for name, what, count, total in by_kind(cache.entries)
            ],
        }
    )
