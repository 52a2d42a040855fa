"""Other people's texts as Markdown: labels, file names, recipes and errors.

As on the terminal (`edge_runtime.console`), what would not be seen, or would turn the direction of writing, is shown as
an escape; then what the language would take for itself. On HTML pages the template does the latter (`page`).
"""

from __future__ import annotations

from ...edge_runtime import console

# A backslash before any ASCII punctuation is Markdown's own escape (CommonMark 0.31, 2.4).
_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\|*_`<>[]#~&"})


def markdown_text(text: object) -> str:
    """For one line of text, or a cell of a table."""
    return console.escaped(text).translate(_MARKDOWN)
