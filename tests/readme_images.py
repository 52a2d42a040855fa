"""The pictures of README, in docs/images: `python -m tests.readme_images` draws all of them, on synthetic lesions.

The badges come from setup.cfg. report.png is the head of a run's report.html, as Chromium shows it, beside pictures of
the test part with the class activation map of the int8 file.
"""

from __future__ import annotations

import configparser
import re
import subprocess
import tempfile
from pathlib import Path

import click
from PIL import Image, ImageDraw

from skin_edge.edge_runtime import SkinClassifier, files
from skin_edge.edge_runtime.cli import run as skin_edge

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
_PAGE = (720, 1000)  # pixels of the report that are shown, as wide as a tablet
_SIDE = 300  # pixels of each heatmap's height


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
    """The first picture of three classes in the test part."""
    from skin_edge.benchmarks.inputs.cases import read_cases

    with SkinClassifier(model) as classifier:
        known = [label.code for label in classifier.labels]
    first: dict[str, Path] = {}
    for case in read_cases(run / "split.csv", split="test", known_labels=known):
        first.setdefault(case.label, case.path)
    return [first[label] for label in sorted(first)[:3]]


@click.command()
@click.option("--run", type=click.Path(path_type=Path), help="A run of the quickstart.  [default: a new one]")
@click.option("--cam", type=click.Path(path_type=Path), help="Its .tflite of convert --cam.  [default: a new one]")
@click.option("--badges", "badges_only", is_flag=True, help="The badges alone, in a moment and without chromium.")
def main(run: Path | None, cam: Path | None, badges_only: bool) -> None:
    """Write docs/images again; needs chromium.

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
        if run is None:
            assert skin_edge(["quickstart", "--out", str(work / "quickstart")]) == 0
            run = work / "quickstart" / "run"
        if cam is None:
            assert skin_edge(["convert", str(run), "--int8", "--ptq", "--cam", "--out", str(work / "cam")]) == 0
            cam = work / "cam" / "model_int8.tflite"
        picture = report_picture(run, cam, work)
        picture.quantize(200, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            IMAGES / "report.png", optimize=True
        )


if __name__ == "__main__":
    main()
