"""Measurements of the training itself, for docs/results.md and the recipes' hours. Nothing else imports them."""
