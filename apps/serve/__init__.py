"""The server: the page and its API over HTTP."""
