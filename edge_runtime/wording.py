"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """How many there are: "0 sets", "1 set", "2 sets".

    Args:
        number: How many, 0 or more.
        one: What there is one of, with its verb where that changes too ("image is").
        many: The same of several, where that is not `one` with an s.
    """
    return f"{number} {one if number == 1 else many or one + 's'}"
