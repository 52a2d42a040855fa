"""Measurements that docs/results.md and the recipes' hours need and no user does.

They are not installed: run them from the root of a checkout, `python -m studies.NAME`. They may import everything, and
nothing imports them.
"""

from pathlib import Path

# Where a child process finds `studies` again.
CHECKOUT = Path(__file__).resolve().parents[1]
