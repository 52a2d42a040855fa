"""The result of a benchmark for people: terminal, page and Markdown. Nothing is computed here."""
