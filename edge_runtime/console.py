"""All that is printed goes through this module, so that nothing printed can steer the terminal or forge a line.

File names, labels and texts of other people's files may hold escape sequences, line breaks, characters that change the
direction of writing or that nobody sees, and bytes that are not text. They are shown as escapes: \\x1b, \\n, \\u202e.
Where a text has several lines, `page` escapes each of them first, and only the breaks between them remain.
"""

from __future__ import annotations

import io
import math
import os
import sys
import unicodedata
from collections.abc import Iterable
from time import monotonic
from typing import Any

WIDTH = 80
"""Columns that tables and wrapped texts keep to."""

_QUIET_SECONDS = 60.0
"""Where progress cannot rewrite a line, it prints one when nothing has been printed for so long."""

# Printable by category, and yet nobody sees them: joiners, fillers and variation selectors.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10))))


class Page(str):
    """Several lines, each one escaped already: what `page` returns and `say` prints with its line breaks."""

    __slots__ = ()


class OutputError(Exception):
    """stdout cannot be written: the disk is full, or its reader has gone (`reader_left`)."""

    def __init__(self, error: OSError):
        super().__init__(error.strerror or str(error))
        self.reader_left = isinstance(error, BrokenPipeError)


def take_over() -> None:
    """Leads what Python itself prints through here too: warnings, and tracebacks of faults. For the process's start."""
    import threading
    import traceback
    import warnings

    def fault(kind: Any, error: Any, trace: Any, *_: Any) -> None:
        if issubclass(kind, KeyboardInterrupt):
            say("error: interrupted", err=True)
            return
        lines = "".join(traceback.format_exception(kind, error, trace)).splitlines()
        say(page([*lines, "error: this is a fault of skin-edge; please report the lines above"]), err=True)

    def warned(message: Any, *_: Any, **__: Any) -> None:
        say(f"warning: {message}", err=True)

    sys.excepthook = fault
    threading.excepthook = lambda told: fault(told.exc_type, told.exc_value, told.exc_traceback)
    warnings.showwarning = warned
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for descriptor in range(3):  # closed ones: the next file that is opened would get what C++ libraries print
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def give_up(stream: Any) -> None:
    """Sends what is written to `stream` nowhere from now on: Python would complain once more when it exits."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)


def escaped(text: object) -> str:
    """`text` as one line that is safe to print: what is neither visible nor a space becomes a Python escape.

    A byte of a file name that is not text (a lone surrogate of os.fsdecode) becomes \\xNN. Escaping twice changes
    nothing more.
    """
    line = str(text)
    if line.isascii() and line.isprintable():
        return line
    return "".join(_escaped_letter(letter) for letter in line)


def _escaped_letter(letter: str) -> str:
    if letter not in _UNSEEN and (letter.isprintable() or unicodedata.category(letter) == "Zs"):
        return letter
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


def page(lines: Iterable[str]) -> Page:
    """Lines as one text to print. Each one is escaped; a `Page` among them keeps its lines."""
    return Page("\n".join(line if isinstance(line, Page) else escaped(line) for line in lines))


def say(text: object = "", *, err: bool = False) -> None:
    """Prints `text` as one line, or a `Page` as its lines, to stdout or stderr."""
    _print((text if isinstance(text, Page) else escaped(text)) + "\n", err=err)


def say_json(value: Any, *, indent: int | None = 2) -> None:
    """Prints `value` as JSON to stdout, as `json_text` makes it; `indent` None: on one line."""
    _print(json_text(value, indent=indent, encoding=getattr(sys.stdout, "encoding", None) or "utf-8") + "\n", err=False)


def json_text(value: Any, *, indent: int | None = None, encoding: str = "utf-8") -> str:
    """`value` as JSON that is safe to print. Strings are exact, and escaped as JSON has it.

    A number that JSON does not know (infinity, not a number) is null.

    Args:
        value: What the json module takes.
        indent: Spaces a level; None: on one line.
        encoding: Letters that it does not have are escaped.
    """
    import json

    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=indent, ensure_ascii=False)
    if not text.isascii() or "\x7f" in text:  # all other control characters are escaped by now
        text = "".join(_json_letter(letter, encoding) for letter in text)
    return text


def report(line: str) -> None:
    """Prints a line about the work to stderr, wrapped on a terminal. One that begins with a carriage return is
    `progress`.
    """
    if line.startswith("\r"):
        progress(line[1:])
    elif is_terminal(sys.stderr) and columns_of(escaped(line)) > _columns(sys.stderr):
        say(page(wrap(line, _columns(sys.stderr), rest="  ", whole=True)), err=True)
    else:
        say(line, err=True)


def say_parts(parts: Iterable[object]) -> None:
    """Prints parts with two spaces between them: one line for programs, and on a terminal as many as have room."""
    shown = [escaped(part) for part in parts]
    width = _columns(sys.stdout) if is_terminal(sys.stdout) else sum(map(columns_of, shown)) + 2 * len(shown)
    lines = [""]
    for part in shown:
        longer = f"{lines[-1]}  {part}" if lines[-1] else part
        if columns_of(longer) <= width:
            lines[-1] = longer
        else:
            lines[-1:] = [*filter(None, lines[-1:]), *wrap(part, width, "    ", "    ", whole=True)]
    say(page(lines))


def progress(line: str) -> None:
    """Shows how far the work is: rewrites the last line of a terminal ("" clears it).

    Where stderr is not a terminal, a whole line is printed instead when nothing was printed for a minute.
    """
    if rewrites():
        _write(sys.stderr, _CLEAR + fit(line, _columns(sys.stderr) - 1))
        _state.progress = line != ""
    elif line and monotonic() - _state.printed > _QUIET_SECONDS:
        say(line, err=True)


def is_terminal(stream: Any) -> bool:
    """Whether the stream is a terminal, and is there at all."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def columns_of(text: str) -> int:
    """How many columns of a terminal `text`, escaped already, takes: 2 for a wide letter, 0 for a combining mark."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of_letter, text))


def pad(text: object, width: int, align: str = "<") -> str:
    """`text` escaped and filled with spaces to `width` columns.

    Args:
        align: "<" left, ">" right.
    """
    shown = escaped(text)
    spaces = " " * (width - columns_of(shown))
    return shown + spaces if align == "<" else spaces + shown


def fit(text: object, width: int) -> str:
    """`text` escaped and, where it has more than `width` columns, cut at its end to "abc..."."""
    shown = escaped(text)
    return shown if columns_of(shown) <= width else _taken(shown, width - 3) + "..."


def tail(text: object, width: int) -> str:
    """As `fit`, cut at its beginning: the end of a path says more."""
    shown = escaped(text)
    return shown if columns_of(shown) <= width else "..." + _taken(shown[::-1], width - 3)[::-1]


def cell(text: object, width: int, align: str = "<") -> str:
    """`text` as a cell of a table: cut to `width` columns, and filled to as many."""
    return pad(fit(text, width), width, align)


def column(names: Iterable[object], least: int, most: int) -> int:
    """How wide a column of names should be: as the widest and two more, within the bounds."""
    return max(least, min(most, 2 + max((columns_of(escaped(name)) for name in names), default=0)))


def wrap(text: object, width: int = WIDTH, first: str = "", rest: str = "", *, whole: bool = False) -> list[str]:
    """`text` escaped, in lines of at most `width` columns.

    Args:
        text: What is shown.
        width: Columns.
        first, rest: What the first line and the others begin with.
        whole: Words that are wider than a line stay whole, so that they can be copied; else they are broken.
    """
    lines, line, empty = list[str](), first, True
    for word in escaped(text).split():
        wider = line + word if empty else f"{line} {word}"
        if columns_of(wider) > width and not empty:
            lines.append(line)
            wider = rest + word
        while not whole and columns_of(wider) > width:
            lines.append(_taken(wider, width))
            wider = rest + wider[len(lines[-1]) :]
        line, empty = wider, False
    return lines if empty and lines else [*lines, line]


def command_line(*words: object) -> str:
    """Words as one line that a shell takes, quoted where needed; control characters as $'\\x1b' of bash and zsh."""
    return " ".join(map(_quoted, words))


_CLEAR = "\r\033[K"


class _State:
    progress = False  # whether a line of `progress` is on the terminal
    printed = monotonic()  # when the last line was printed


_state = _State()


def _print(text: str, *, err: bool) -> None:
    if _state.progress:
        _state.progress = False
        _write(sys.stderr, _CLEAR)
    _state.printed = monotonic()
    _write(sys.stderr if err else sys.stdout, text)


def _write(stream: Any, text: str) -> None:
    if stream is None:  # it was closed before the start
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text if text.isascii() else text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:
        give_up(stream)
        if stream is not sys.stderr:  # hours of work are not to end for a lost line about them
            raise OutputError(error) from None


def _columns(stream: Any) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or WIDTH
    except (OSError, ValueError):
        return WIDTH


def rewrites() -> bool:
    """Whether stderr is a terminal whose last line can be rewritten."""
    return is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        named: dict[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return {name: _finite(one) for name, one in named.items()}
    if isinstance(value, list | tuple):
        items: list[Any] = list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return [_finite(one) for one in items]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json_letter(letter: str, encoding: str) -> str:
    import json

    if letter == "\n" or (escaped(letter) == letter and _encodes(letter, encoding)):
        return letter
    return f"\\u{ord(letter):04x}" if letter.isascii() else json.dumps(letter)[1:-1]


def _encodes(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeError:
        return False
    return True


def _columns_of_letter(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _taken(text: str, width: int) -> str:
    """The letters of the beginning that have room in `width` columns."""
    used = 0
    for position, letter in enumerate(text):
        used += _columns_of_letter(letter)
        if used > width:
            return text[:position]
    return text


def _quoted(word: object) -> str:
    import shlex

    text = str(word)
    shown = escaped(text)
    if shown == text:
        return shlex.quote(text)
    try:
        content = text.encode("utf-8", "surrogateescape")
    except UnicodeError:  # no file has such a name
        return shlex.quote(shown)
    # Of bash, zsh and ksh: a name that cannot be printed can be pasted all the same.
    letters = (f"\\x{byte:02x}" if not 32 <= byte < 127 else chr(byte) for byte in content)
    return "$'" + "".join(f"\\{letter}" if letter in ("\\", "'") else letter for letter in letters) + "'"
