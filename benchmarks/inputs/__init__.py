"""What people hand in: YAML and JSON, tables, class folders, and the labelled pictures that they name."""
