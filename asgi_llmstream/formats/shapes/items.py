"""Items whose fields page protocols name as JavaScript does."""

from __future__ import annotations

from ...chunks import Document, File, Source

__all__ = ["fields_of"]


def fields_of(item: Source | Document | File) -> dict[str, str]:
    """The item's fields; what is not known is left out."""
    match item:
        case Source(url=url, title=title):
            fields = {"url": url, "title": title}
        case Document(title=title, media_type=media_type, filename=filename):
            fields = {"title": title, "mediaType": media_type, "filename": filename}
        case File(url=url, media_type=media_type):
            fields = {"url": url, "mediaType": media_type}
    return {name: value for name, value in fields.items() if value is not None}
