"""`skin-edge web`."""

from __future__ import annotations

from pathlib import Path

import click

from ...edge_runtime import console
from ...edge_runtime.commands import model_argument


@click.command()
@model_argument
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="SITE", help="Folder to create.")
@click.option(
    "--runtime",
    type=click.Path(path_type=Path),
    metavar="NODE_MODULES",
    help="Copy LiteRT.js from there into the site, instead of fetching it from a public host.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier site.")
def web(model: Path | None, out: Path, runtime: Path | None, overwrite: bool) -> None:
    """Make a page that assesses photographs in the browser, from MODEL, a .tflite file or the name of a
    packaged model; without MODEL, "default".

    SITE is a folder of static files for any web server. The model runs on the visitor's device; photographs are not
    sent anywhere. The page works offline after the first visit, and checks the device by golden pictures.

    The browser fetches the runtime LiteRT.js from cdn.jsdelivr.net, in one version, and compares its digests. With
    --runtime it lies in the site, which then needs no other host: the folder node_modules that 'npm install
    @litertjs/core@2.5.3' makes.

    \b
    Example:
      skin-edge web --out site
      skin-edge web runs/first/int8/model_int8.tflite --out site \\
        --runtime node_modules
      python3 -m http.server --directory site
    """
    from ...edge_runtime import files
    from ...edge_runtime.errors import OutputExistsError
    from . import site

    if out.exists() and not overwrite:
        raise OutputExistsError(out)
    files.check_writable(out)
    made = site.files(model, runtime=runtime)
    site.write(out, made, overwrite=overwrite)
    size = sum(map(len, made.values()))
    console.say(f"{out}: {len(made)} files, {size / 1e6:.1f} MB")
    serve = console.command_line("python3", "-m", "http.server", "--directory", out)
    console.say(
        console.page(["next: serve the folder, with https where others use it; to look at it here:", f"  {serve}"])
    )
