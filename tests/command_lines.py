"""The command lines that people read in README, docs and beside the ports: found, and held against the commands."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import click

from .cli_reference import REFERENCE, click_command, context

ROOT = Path(__file__).parents[1]

_OURS = re.compile(r"(?:^|&& |; )(?:python -m (?:skin_edge|studies)\.|skin-edge )")
_VARIABLE = re.compile(r'^ {4}([A-Z]+)="([^"]*)"', re.MULTILINE)


@dataclass(frozen=True)
class CommandLine:
    """One call. document: its path in the repository. words: as a shell splits them. into: where stdout goes."""

    document: str
    number: int
    words: tuple[str, ...]
    into: str | None = None

    def __str__(self) -> str:
        return f"{self.document}:{self.number}: {shlex.join(self.words)}"


def documents() -> list[Path]:
    """Everything with command lines that a person wrote; docs/cli.md is made from the commands."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
    found += sorted(path for path in (ROOT / "docs").glob("*.md") if path != REFERENCE)
    found += sorted((ROOT / "edge_runtime/models").glob("MODEL_CARD*.md"))
    return [*found, *sorted((ROOT / "ports").glob("*/README.md"))]


def command_lines(document: Path) -> list[CommandLine]:
    """The calls of skin-edge in indented and fenced blocks, in their order; "\\" at the end of a line continues it."""
    text = document.read_text(encoding="utf-8")
    variables = dict(_VARIABLE.findall(text))
    found = []
    for number, line in _code(text):
        if _OURS.search(line):
            line = line.rstrip("'") if line.count("'") % 2 else line  # the last one of a longer quotation
            line = re.sub(r"\$([A-Z]+)\b", lambda match: variables.get(match[1], match[0]), line)
            found += [
                CommandLine(str(document.relative_to(ROOT)), number, words, into)
                for words, into in _calls(line)
                if words[0] == "skin-edge" or words[:2] == ("python", "-m")
            ]
    return found


def inline_calls(document: Path) -> list[tuple[str, list[str]]]:
    """(span, words) of every `skin-edge COMMAND ...` within a sentence."""
    prose = "\n".join(line for line in document.read_text(encoding="utf-8").splitlines() if not line.startswith("    "))
    prose = re.sub(r"^```.*?^```", "", prose, flags=re.MULTILINE | re.DOTALL)
    spans = [" ".join(span.split()) for span in re.findall(r"`(skin-edge\s[^`]+)`", prose)]
    return [(span, span.split()) for span in spans]


def problem(words: tuple[str, ...]) -> str | None:
    """What is wrong with a call: unknown command, option or choice, or another number of arguments."""
    if words[0] != "skin-edge":
        return _module_problem(words[2], list(words[3:]))
    if words[1:] in (("--help",), ("--version",)):
        return None
    try:
        command = click_command(words[1])
    except KeyError:
        return f"no command {words[1]}"
    return _click_problem(command, list(words[2:]))


def options(command: click.Command) -> set[str]:
    """Every option of a command, as it is typed."""
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}


def _code(text: str) -> Iterator[tuple[int, str]]:
    """(line number, line without its indent) of indented and fenced blocks, continued lines as one."""
    fenced, joined, start = False, "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            start = start if joined else number
            joined += line.strip()
            if joined.endswith("\\"):
                joined = joined[:-1]
            else:
                yield start, joined
                joined = ""


def _calls(line: str) -> list[tuple[tuple[str, ...], str | None]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split, lexer.commenters = True, "#"
    calls: list[tuple[tuple[str, ...], str | None]] = []
    words: list[str] = []
    into: str | None = None
    tokens = iter([*lexer, ";"])
    for token in tokens:
        if token == ">":
            into = next(tokens)
        elif token in ("&&", ";", "|"):
            if words:
                calls.append((tuple(words), into))
            words, into = [], None
        elif token != "...":  # left out: the line is in full above
            words.append(token)
    return calls


def _click_problem(command: click.Command, arguments: list[str]) -> str | None:
    found = context(command)
    try:
        given, rest, _ = command.make_parser(found).parse_args(list(arguments))
        if rest:
            return f"too many arguments: {rest}"
        for parameter in command.params:
            value = given.get(str(parameter.name))
            values = value if isinstance(value, list | tuple) else [value] if isinstance(value, str) else []
            if parameter.required and not values:
                return f"{parameter.name} is missing"
            if isinstance(parameter.type, click.Choice | click.types.IntParamType | click.types.FloatParamType):
                for each in values:
                    if each == "N":  # a number that is in a table beside the line
                        continue
                    parameter.type.convert(each, parameter, found)
    except click.UsageError as error:
        return error.format_message()
    return None


class _ParsedError(Exception):
    pass


def _module_problem(name: str, arguments: list[str]) -> str | None:
    try:
        module = importlib.import_module(name)
        if hasattr(module, "__path__"):
            module = importlib.import_module(f"{name}.__main__")
    except ModuleNotFoundError as error:
        return str(error)
    if isinstance(module.main, click.Command):
        return _click_problem(module.main, arguments)
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser: argparse.ArgumentParser, words: list[str] | None = None) -> None:
        parse(parser, words)
        raise _ParsedError

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", only_parse),
        mock.patch.object(sys, "argv", [name, *arguments]),
    ):
        try:
            module.main()
        except _ParsedError:
            return None
        except SystemExit:
            return "argparse refuses it"
    return "its main() does not parse arguments by argparse"
