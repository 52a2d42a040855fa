"""Other people's texts on a page: labels, file names, recipes and errors, as HTML and as Markdown.

As on the terminal (`edge_runtime.console`), what would not be seen, or would turn the direction of writing, is shown as
an escape; then what the language would take for itself.
"""

from __future__ import annotations

import html

from ...edge_runtime import console

# A backslash before any ASCII punctuation is Markdown's own escape (CommonMark 0.31, 2.4).
_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\|*_`<>[]#~&"})


def html_text(text: object) -> str:
    """For the content of an element, or an attribute in quotes."""
    return html.escape(console.escaped(text))


def markdown_text(text: object) -> str:
    """For one line of text, or a cell of a table."""
    return console.escaped(text).translate(_MARKDOWN)
