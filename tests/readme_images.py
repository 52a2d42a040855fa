"""The pictures of README, in docs/images: `python -m tests.readme_images` draws all of them, on synthetic lesions.

The badges come from setup.cfg. report.png is the head of a run's report.html, as Chromium shows it, beside pictures of
the test part with the class activation map of the int8 file. page.png is the page of `skin-edge web` on a desktop and
on a phone, with answers of the packaged model to golden pictures.
"""

from __future__ import annotations

import configparser
import re
import subprocess
import tempfile
from pathlib import Path

import click
from PIL import Image, ImageDraw

from skin_edge.apps.web import site
from skin_edge.benchmarks.bundle import pictures
from skin_edge.edge_runtime import SkinClassifier, files
from skin_edge.edge_runtime.cli import run as skin_edge

from .browsers import node_modules, visited

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
_PAGE = (720, 1000)  # pixels of the report that are shown, as wide as a tablet
_SIDE = 300  # pixels of each heatmap's height
_DESKTOP, _PHONE, _HEIGHT = 1040, 400, 1150  # pixels of the page's windows


def badges() -> dict[str, str]:
    """File name -> SVG, as setup.cfg declares license and versions of Python."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    code, weights = config["metadata"]["license_expression"].split(" AND ")
    versions = re.findall(r"Python :: (3\.\d+)", config["metadata"]["classifiers"])
    return {
        "license.svg": _badge("license", f"{code} (weights: {weights})"),
        "python.svg": _badge("python", f"{versions[0]} to {versions[-1]}"),
    }


def _badge(name: str, value: str) -> str:
    left, right = (10 + 7 * len(text) for text in (name, value))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{name}: {value}">\n'
        f'<rect width="{left}" height="20" fill="#555"/><rect x="{left}" width="{right}" height="20" fill="#0a6b8a"/>\n'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">\n'
        f'<text x="{left / 2}" y="14">{name}</text><text x="{left + right / 2}" y="14">{value}</text>\n</g>\n</svg>\n'
    )


def report_picture(run: Path, cam: Path, work: Path) -> Image.Image:
    """The head of RUN's report beside heatmaps of three test pictures. cam: a .tflite of `convert --cam`."""
    page, shot = (run / "report.html").resolve(), work / "page.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={work / 'profile'}"]
    window = f"--window-size={_PAGE[0]},{_PAGE[1]}"
    subprocess.run(
        ["chromium", *flags, window, f"--screenshot={shot}", page.as_uri()],
        check=True,
        capture_output=True,
        timeout=300,
    )
    pictures = _test_pictures(run, cam)
    assert skin_edge(["predict", str(cam), *map(str, pictures), "--heatmap", str(work / "heatmaps")]) == 0
    maps = [Image.open(path).convert("RGB") for path in sorted((work / "heatmaps").iterdir())]
    maps = [each.resize((round(each.width * _SIDE / each.height), _SIDE), Image.Resampling.BICUBIC) for each in maps]
    gap = 20
    width = _PAGE[0] + gap + max(each.width for each in maps)
    canvas = Image.new("RGB", (width, _PAGE[1]), "white")
    canvas.paste(Image.open(shot).convert("RGB"), (0, 0))
    for position, each in enumerate(maps):
        canvas.paste(each, (_PAGE[0] + gap, gap + position * (_SIDE + gap)))
    ImageDraw.Draw(canvas).line([(_PAGE[0], 0), (_PAGE[0], _PAGE[1])], fill="#cccccc")
    return canvas


def _test_pictures(run: Path, model: Path) -> list[Path]:
    """The first picture of three classes in the test part that the model can assess."""
    from skin_edge.benchmarks.inputs.cases import read_cases

    first: dict[str, Path] = {}
    with SkinClassifier(model) as classifier:
        known = [label.code for label in classifier.labels]
        for case in read_cases(run / "split.csv", split="test", known_labels=known):
            if case.label not in first and classifier.predict(case.path).assessable:
                first[case.label] = case.path
    return [first[label] for label in sorted(first)[:3]]


def page_picture(modules: Path, work: Path) -> Image.Image:
    """The page on a desktop, light, beside a phone's, dark.

    Args:
        modules: node_modules with LiteRT.js and playwright-core.
    """
    site.write(work / "site", site.files(runtime=modules))
    shots: list[dict[str, object]] = []
    for name, width, scheme, picture in (
        ("desktop", _DESKTOP, "light", "fit-22.jpg"),
        ("phone", _PHONE, "dark", "fit-7.jpg"),
    ):
        (work / picture).write_bytes(pictures.fit()[picture])
        size = {"width": width, "height": _HEIGHT, "whole": False}
        shots.append({"file": work / f"{name}.png", "scheme": scheme, "picture": work / picture, **size})
    visited("screenshots", work / "site", modules, work, shots=shots)
    gap = 20
    canvas = Image.new("RGB", (_DESKTOP + gap + _PHONE, _HEIGHT), "white")
    canvas.paste(Image.open(work / "desktop.png").convert("RGB"), (0, 0))
    canvas.paste(Image.open(work / "phone.png").convert("RGB"), (_DESKTOP + gap, 0))
    return canvas


def _save(picture: Image.Image, name: str) -> None:
    small = picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(IMAGES / name, optimize=True)


@click.command()
@click.option("--run", type=click.Path(path_type=Path), help="A run of the quickstart.  [default: a new one]")
@click.option("--cam", type=click.Path(path_type=Path), help="Its .tflite of convert --cam.  [default: a new one]")
@click.option("--modules", type=click.Path(path_type=Path), help="LiteRT.js and playwright-core.  [default: by npm]")
@click.option("--page", "page_only", is_flag=True, help="page.png and the badges alone.")
@click.option("--badges", "badges_only", is_flag=True, help="The badges alone, in a moment and without chromium.")
def main(run: Path | None, cam: Path | None, modules: Path | None, page_only: bool, badges_only: bool) -> None:
    """Write docs/images again; needs chromium, node and npm.

    \b
    Example:
      python -m tests.readme_images
    """
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, text in badges().items():
        files.write(IMAGES / name, text)
    if badges_only:
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _save(page_picture(modules or node_modules(work / "npm"), work), "page.png")
        if page_only:
            return
        if run is None:
            assert skin_edge(["quickstart", "--out", str(work / "quickstart")]) == 0
            run = work / "quickstart" / "run"
        if cam is None:
            assert skin_edge(["convert", str(run), "--int8", "--ptq", "--cam", "--out", str(work / "cam")]) == 0
            cam = work / "cam" / "model_int8.tflite"
        _save(report_picture(run, cam, work), "report.png")


if __name__ == "__main__":
    main()
