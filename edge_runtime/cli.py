"""The root of the command line: `skin-edge COMMAND`.

A command is named here with the module that holds it and loaded when it is called, so that the device install
starts without the floors above. Errors become one line here, once.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import click

from . import __version__, console, stopping
from .errors import SkinEdgeError, missing_extra, unknown

_LONGEST = 2000  # characters of an error: it may quote what a file holds


class _Command(NamedTuple):
    target: str  # "module:attribute"
    help: str


COMMANDS = {
    "quickstart": _Command(
        "skin_edge.convert.commands.convert:quickstart", "Run every step in minutes, on synthetic images."
    ),
    "data": _Command("skin_edge.train.commands.data:data", "Check a data set before training on it."),
    "train": _Command("skin_edge.train.commands.train:train", "Train a model on labelled images."),
    "evaluate": _Command("skin_edge.train.commands.report:evaluate", "Evaluate a model on new labelled images."),
    "compare": _Command("skin_edge.train.commands.report:compare", "Compare runs, with paired differences."),
    "recipes": _Command("skin_edge.train.commands.recipes:recipes", "List the training recipes, or show one."),
    "tune": _Command("skin_edge.train.commands.tune:tune", "Search the settings of a recipe."),
    "convert": _Command("skin_edge.convert.commands.convert:convert", "Convert a trained run to a .tflite."),
    "debug-quantization": _Command(
        "skin_edge.convert.commands.debug:debug_quantization", "Show the quantization error of each layer."
    ),
    "bench": _Command("skin_edge.benchmarks.commands:bench", "Measure size, latency, memory and accuracy."),
    "bundle": _Command(
        "skin_edge.benchmarks.bundle.commands:bundle", "Package a model for app developers, as one zip."
    ),
    "verify": _Command("skin_edge.benchmarks.bundle.commands:verify", "Check an app's answers against a bundle."),
    "web": _Command("skin_edge.apps.web.commands:web", "Make a page that assesses photographs in the browser."),
    "info": _Command("skin_edge.edge_runtime.commands:info", "Describe a .tflite file."),
    "predict": _Command("skin_edge.edge_runtime.commands:predict", "Classify images."),
    "watch": _Command("skin_edge.edge_runtime.bulk.commands:watch", "Classify images as they arrive in a folder."),
    "serve": _Command("skin_edge.apps.serve.commands:serve", "Serve a model to browsers and apps."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].target.split(":")
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(unknown("command", args[0], COMMANDS))
        return super().resolve_command(ctx, args)


@click.group(
    cls=_LazyGroup,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": console.WIDTH},
)
@click.version_option(__version__, prog_name="skin-edge")
def root() -> None:
    """Train, quantize, measure and run skin-lesion classifiers on edge devices.

    \b
    Example:
      skin-edge quickstart
      skin-edge predict photo.jpg

    For research and product development. Not a medical device.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its code: 0 good, 1 failed, 2 wrong usage, 3 a gate was not met, 130 and 143
    interrupted (SIGINT, SIGTERM).
    """
    run_module(root, arguments)


def run_module(command: click.Command, arguments: Sequence[str] | None = None) -> NoReturn:
    """As `main`, of another command: what `python -m MODULE` runs."""
    console.take_over()
    stopping.listen()
    sys.exit(run(arguments, command))


def run(arguments: Sequence[str] | None = None, command: click.Command = root) -> int:
    """Runs the command line; returns the exit code instead of exiting."""
    # Pillow's own size limit warns where ours refuses, and damaged EXIF blocks warn on every photo of some phones.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        return _run(arguments, command)
    except Exception as error:
        if not stopping.was_stopped():
            raise
        return _fail("interrupted", stopping.exit_code(error))


def _run(arguments: Sequence[str] | None, command: click.Command) -> int:
    name = "skin-edge" if command is root else None  # click finds the name of a module
    try:
        outcome: Any = command.main(args=arguments, prog_name=name, standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "skin-edge"
        return _fail(f"{error.format_message()} (see {path} --help)", 2)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        stopped = error.__cause__ if isinstance(error, click.Abort) and error.__cause__ else error
        goes_on = isinstance(stopped, KeyboardInterrupt) and str(stopped) == stopping.GOES_ON
        return _fail(f"interrupted{_remedy(arguments) if goes_on else ''}", stopping.exit_code(stopped))
    except SkinEdgeError as error:
        return _fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        translated = missing_extra(error)
        if translated is None:
            raise
        return _fail(str(translated), translated.exit_code)
    except console.OutputError as error:
        return 1 if error.reader_left else _fail(f"the output cannot be written: {error}", 1)
    except BrokenPipeError:  # of click's own output
        console.give_up(sys.stdout)
        return 1
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return _fail(f"{where}{error.strerror or error}", 1)
    except UnicodeEncodeError as error:
        return _fail(f"a name is not text in {error.encoding}: {error.object[:200]}", 1)


def _remedy(arguments: Sequence[str] | None) -> str:
    """The line that goes on with what was interrupted, to be pasted."""
    words = [word for word in (sys.argv[1:] if arguments is None else arguments) if word not in _HOW]
    line = console.command_line("skin-edge", *words, "--resume")
    return f"; to continue: {line}" if len(line) < _LONGEST - 100 else f": {stopping.GOES_ON}"


_HOW = ("--overwrite", "--resume")


def _fail(message: str, code: int) -> int:
    console.say(f"error: {message if len(message) <= _LONGEST else message[:_LONGEST] + ' ...'}", err=True)
    return code


if __name__ == "__main__":
    main()
