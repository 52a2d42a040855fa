"""A document as one HTML page that needs nothing else. What it looks like: page.html.jinja and page.css."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ...edge_runtime import console, preprocess
from ...edge_runtime.classifier import DISCLAIMER
from ...edge_runtime.errors import ImageError
from ...edge_runtime.preprocess import SCALED, InputSpec
from .document import Document, Text, plain

_THUMBNAIL = 224  # pixels, the longer side


def page(document: Document) -> str:
    """The document as one HTML page. Pictures are read from their paths; a missing one is reported on the page."""
    return _environment().get_template("page.html.jinja").render(document=document, disclaimer=DISCLAIMER)


def thumbnail(path: str | Path, side: int = _THUMBNAIL) -> str | None:
    """The picture upright, at most `side` pixels, as a JPEG data URI; None where it cannot be read any more.

    Its pixels are re-encoded, so nothing else of the file (place, device, time) comes along.
    """
    if not str(path):
        return None
    try:
        upright = preprocess.decode(str(path), InputSpec(side, side, decoding=SCALED))
    except ImageError:
        return None
    upright.thumbnail((side, side))
    bare = upright.convert("RGB")
    bare.info = {}
    buffer = io.BytesIO()
    bare.save(buffer, "JPEG", quality=82, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _environment() -> Environment:
    found = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=False,
        keep_trailing_newline=True,
    )
    found.filters.update(  # pyright: ignore[reportUnknownMemberType]
        shown=console.escaped, breakable=_breakable, plain=plain, kind=_kind, thumbnail=thumbnail
    )
    return found


def _breakable(text: str) -> Markup:
    """Escaped, with places where a long name may be broken."""
    return Markup(escape(console.escaped(text)).replace("_", Markup("_<wbr>")).replace("/", Markup("/<wbr>")))


def _kind(cell: Text) -> str:
    """Only long text needs a least width, or it would become a column of single words."""
    text = plain(cell)
    return {"FAIL": "bad", "ok": "good"}.get(text.rstrip("?"), "long" if len(text) > 24 else "short")
