"""Ctrl-C and SIGTERM: the work stops, what is half written goes, and one line says what to do."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any, NoReturn

GOES_ON = "run the same command with --resume to continue"


class Terminated(KeyboardInterrupt):
    """SIGTERM: the work stops as at Ctrl-C."""


class _State:
    number: int | None = None  # of the signal that has come
    lost: bool = False  # it is given once more


_state = _State()


def listen() -> None:
    """Both signals stop this process's work from now on; one that its parent had it ignore (nohup) stays so."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    sys.unraisablehook = _not_lost


def was_stopped() -> bool:
    """Whether one of them has come. A library may make an error of its own of the exception, as TensorFlow does."""
    return _state.number is not None


def exit_code(stopped: BaseException) -> int:
    """130 for Ctrl-C, 143 for SIGTERM.

    Args:
        stopped: The exception, if it is the signal's own.
    """
    return 143 if isinstance(stopped, Terminated) or _state.number == signal.SIGTERM else 130


@contextlib.contextmanager
def saying(message: str) -> Generator[None, None, None]:
    """What stops the block says `message`: GOES_ON, or "" where what an inner block says does not hold outside."""
    try:
        yield
    except BaseException as error:
        if not (isinstance(error, KeyboardInterrupt) or was_stopped()):
            raise
        kind = Terminated if exit_code(error) == 143 else KeyboardInterrupt
        raise kind(*([message] if message else [])) from None


def _stop(number: int, frame: object) -> NoReturn:
    if number == signal.SIGTERM and _state.number == number and not _state.lost:
        signal.signal(number, signal.SIG_DFL)  # a second one ends at once
        signal.raise_signal(number)
    _state.number, _state.lost = number, False
    if number == signal.SIGTERM:
        raise Terminated
    raise KeyboardInterrupt


def _not_lost(told: Any) -> None:
    """Python prints and forgets what is raised in a callback or destructor; the signal is given once more, later."""
    if not issubclass(told.exc_type, KeyboardInterrupt) or _state.number is None:
        sys.__unraisablehook__(told)
        return
    _state.lost = True
    again = threading.Timer(0.5, _again, (_state.number,))  # now it would be lost as well
    again.daemon = True
    again.start()


def _again(number: int) -> None:
    if hasattr(signal, "pthread_kill"):  # wakes it from a sleep too
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:  # Windows
        signal.raise_signal(number)


@contextlib.contextmanager
def gently(on_stop: Callable[[], None]) -> Generator[None, None, None]:
    """The first signal calls `on_stop` meanwhile, and stops nothing. Another SIGTERM changes nothing then, also after
    the block: some supervisors send more than one. Ctrl-C stops the work as ever.

    Args:
        on_stop: Called in the main thread, between two instructions.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, before[signal.SIGINT])
        on_stop()

    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)
