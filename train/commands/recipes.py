"""`skin-edge recipes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ...edge_runtime import console

if TYPE_CHECKING:
    from ..recipes.recipe import Recipe


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print all fields instead of the summary.")
def recipes(name: str | None, as_json: bool) -> None:
    """List the recipes of 'skin-edge train', or show the recipe NAME with all its settings.

    Hours: training time for 30 epochs of 6,500 images (HAM10000) on two CPU cores. QAT: whether quantization-aware
    training is possible; if not, convert with --ptq. Result: as reported by the recipe's source, on its own split.

    \b
    Example:
      skin-edge recipes
      skin-edge recipes mobilenet
      skin-edge recipes --json
    """
    from ..recipes import published

    chosen = [published.get(name)] if name else list(published.RECIPES.values())
    if as_json:
        described = [_described(recipe) for recipe in chosen]
        console.say_json(described[0] if name else described)
    else:
        console.say(_page(chosen[0]) if name else _table(chosen))


def _described(recipe: Recipe) -> dict[str, Any]:
    return recipe.to_dict() | {"search": {setting: values.to_dict() for setting, values in recipe.search.items()}}


def _table(recipes: list[Recipe]) -> console.Page:
    lines: list[str] = []
    for task in dict.fromkeys(recipe.task for recipe in recipes):
        lines += [*([""] if lines else []), f"{task:<28} {'pixels':>7} {'hours':>5} QAT published result"]
        lines += [
            f"{recipe.name:<28} {_size(recipe):>7} {_hours(recipe):>5} {'yes' if recipe.qat else 'no':<3} "
            f"{recipe.expected}"
            for recipe in recipes
            if recipe.task == task
        ]
    return console.page([*lines, "", "skin-edge recipes NAME shows one; skin-edge train DATA --recipe NAME runs it."])


def _page(recipe: Recipe) -> console.Page:
    settings = recipe.to_dict()
    augmentation = ", ".join(
        name if value is True else f"{name} {value:g}" for name, value in settings.pop("augmentation").items() if value
    )
    search = ", ".join(f"{name} {_range(values.to_dict())}" for name, values in recipe.search.items())
    rows = {
        "summary": recipe.summary,
        "source": recipe.source,
        "result": recipe.expected,
        "hours": f"{_hours(recipe)}, for 30 epochs of 6,500 pictures on two CPU cores",
        "QAT": "possible" if recipe.qat else "not possible: convert with --ptq",
        "task": recipe.task,
        "leaves out": ", ".join(recipe.clean) or "nothing",
        "augments by": augmentation or "nothing",
        "tune varies": search or "nothing",
        "settings": ", ".join(_plain(name, value) for name, value in settings.items() if name not in _SAID),
    }
    lines = [recipe.name]
    for title, text in rows.items():
        lines += console.wrap(text, first=f"  {title:<13}", rest=" " * 15)
    return console.page([*lines, "", f"skin-edge train DATA --out RUN --recipe {recipe.name}"])


_SAID = ("name", "summary", "source", "expected", "hours", "qat", "task", "clean")


def _size(recipe: Recipe) -> str:
    height, width = recipe.image_size
    return f"{height}" if height == width else f"{height}x{width}"


def _hours(recipe: Recipe) -> str:
    return f"{recipe.hours:g}"


def _plain(name: str, value: Any) -> str:
    if value is None:
        return f"{name} {_WITHOUT_VALUE[name]}"
    if isinstance(value, list):
        return f"{name} " + ("/".join(map(str, value)) or "none")
    return f"{name} " + (str(value).lower() if isinstance(value, bool) else str(value))


_WITHOUT_VALUE = {"unfreeze": "all", "batch_norm_momentum": "the network's"}


def _range(values: dict[str, Any]) -> str:
    ((kind, numbers),) = values.items()
    if kind == "one_of":
        return "|".join(map(str, numbers))
    return f"{numbers[0]:g}..{numbers[1]:g}" + (" (log)" if kind == "log" else "")
