"""Where the process `skin-edge` starts: a Ctrl-C while it is still loading ends it without a traceback."""

from __future__ import annotations

import signal


def main() -> None:
    """As `cli.main`, which listens to signals from then on."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .cli import main

    main()


if __name__ == "__main__":
    main()
