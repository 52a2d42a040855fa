"""Settings as data: what a recipe is, those that are published, and what a search may vary."""
