"""The page: static files that answer in the visitor's browser, or ask the server that gave them."""
