"""Measurements that docs/results.md needs and no user's device does. Nothing else imports them."""
