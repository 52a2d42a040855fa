"""Figures of the code itself, for the table of docs/architecture.md.

    python -m tests.counts [CHECKOUT]

Lines are those of .py files, as `wc -l` counts them; of a report's page the template and style sheet too. A function's
lines of code have no docstring, comment or empty line. Levels: the longest chain of imports among the folders and
modules of one floor. What makes or prints reports (`_REPORTS`) is listed by name, so that an older checkout is counted
by the same rule: whole modules of these names, elsewhere the functions that return a page, document or block.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

FLOORS = ("edge_runtime", "benchmarks", "apps", "train", "convert")
_REPORTS = {
    "bench_report", "charts", "compare_views", "diff", "document", "escapes", "markdown", "page", "parts",
    "report_markdown", "report_page", "run_report", "sections", "several", "summary", "terminal", "tune_results",
    "benchmarks/compare", "benchmarks/report",
}  # fmt: skip
_BLOCKS = {"Page", "Document", "Section", "Block", "Table"}


def files(root: Path, floor: str) -> list[Path]:
    return sorted(path for path in (root / floor).rglob("*.py") if path.is_file())


def lines(paths: list[Path]) -> int:
    return sum(path.read_text().count("\n") for path in paths)


def functions(path: Path) -> list[tuple[int, str, ast.FunctionDef]]:
    """(lines of code, name, function) of each."""
    text = path.read_text()
    source = text.splitlines()
    found: list[tuple[int, str, ast.FunctionDef]] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            inside = source[body[0].lineno - 1 : node.end_lineno] if body else []
            code = [line for line in inside if line.strip() and not line.strip().startswith("#")]
            found.append((len(code), f"{path.stem}.{node.name}", node))
    return found


def levels(root: Path, floor: str) -> int:
    """How many of the floor's folders and modules import each other in a row."""
    imports: dict[str, set[str]] = {}
    for path in files(root, floor):
        inside = path.relative_to(root / floor).parts
        room = inside[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == len(inside):
                heads = [node.module.split(".")[0]] if node.module else [one.name for one in node.names]
                imports.setdefault(room, set()).update(head for head in heads if head != room)
    rooms = set(imports)

    def depth(room: str, above: tuple[str, ...]) -> int:
        below = (imports[room] & rooms) - set(above)
        return 1 + max((depth(one, (*above, room)) for one in below), default=0)

    return max(depth(room, ()) for room in rooms - {"__init__"})


def reports(root: Path) -> int:
    total = 0
    for floor in FLOORS[1:]:
        for path in files(root, floor):
            if path.stem in _REPORTS or f"{path.parent.name}/{path.stem}" in _REPORTS:
                total += lines([path])
            elif "studies" not in path.parts:
                for _, _, node in functions(path):
                    words = {
                        getattr(one, "attr", getattr(one, "id", "")) for one in ast.walk(node.returns or node.args)
                    }
                    total += (node.end_lineno or 0) - node.lineno + 1 if words & _BLOCKS else 0
    return total + sum(
        lines([path]) for path in (root / "benchmarks").rglob("page.*") if path.suffix in (".css", ".jinja")
    )


def main(root: Path) -> None:
    everything = [path for floor in (*FLOORS, "studies") for path in files(root, floor)]
    for floor in (*FLOORS, "studies"):
        if found := files(root, floor):
            flat = sum(path.parent == root / floor for path in found)
            said = f"{len(found)} files ({flat} in the folder itself), {lines(found):,} lines"
            print(f"{floor}: {said}" + (f", {levels(root, floor)} levels" if floor != "studies" else ""))
    largest = sorted(((n, name) for path in everything for n, name, _ in functions(path)), reverse=True)
    print("largest functions: " + ", ".join(f"{name} {n}" for n, name in largest[:5]))
    print(f"functions of more than 60 lines: {sum(n > 60 for n, _ in largest)}")
    print(f"reports: {reports(root):,} lines")
    print(f"in all: {lines(everything):,} lines; tests: {lines(files(root, 'tests')):,} lines")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
