"""Write the tutorial notebooks, one in each language, from one source, and run them.

``scripts/tour.md`` holds the cells: text in both languages, each after a mark, and code once. In code, ``«one|other»`` stands for
what reads otherwise in the two languages.

Usage: ``python scripts/notebooks.py`` runs both and writes them to ``examples``; ``--out FOLDER`` writes them elsewhere;
``--check`` runs nothing and says whether the notebooks in that folder are made of the source as it is. Needs the extra
``notebooks``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "scripts" / "tour.md"
NAMES = {"en": "tour.ipynb", "zh": "tour.zh.ipynb"}
MARK = re.compile(r"^(?:<!-- (en|zh) -->|```(python))\n", re.MULTILINE)
CHOICE = re.compile(r"«([^|»]*)\|([^»]*)»")
SECONDS = 300  # that a cell may take
LARGEST = 3_000_000  # bytes of a notebook


def cells(source: str) -> Iterator[tuple[str, str]]:
    """Yield what kind each cell of the source is (``en``, ``zh``, ``python``) and what it holds."""
    marks = list(MARK.finditer(source))
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        held = source[mark.end() : None if following is None else following.start()]
        yield mark[1] or mark[2], held.partition("\n```\n")[0].strip("\n") if mark[2] else held.strip()


def built(language: str, source: str) -> Any:
    """Return the notebook of a language, not run yet."""
    side = list(NAMES).index(language) + 1
    new = nbformat.v4
    found = [
        new.new_code_cell(CHOICE.sub(lambda choice: choice[side], held)) if kind == "python" else new.new_markdown_cell(held)
        for kind, held in cells(source)
        if kind in ("python", language)
    ]
    for place, cell in enumerate(found):
        cell.id = f"cell-{place:02}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new.new_notebook(cells=found, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


async def run(notebook: Any, folder: Path) -> None:
    """Run a notebook from top to bottom in a folder of its own, on this very Python.

    Raises:
        CellExecutionError: when a cell fails.
    """
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    await client.async_execute()
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)


def joined(outputs: Sequence[Any]) -> list[Any]:
    """Return outputs with what was printed in several portions as one."""
    found: list[Any] = []
    for one in outputs:
        last = found[-1] if found else None
        if last is not None and last.output_type == one.output_type == "stream" and last.name == one.name:
            last.text += one.text
        else:
            found.append(one)
    return found


def faults(notebook: Any, folder: Path) -> list[str]:
    """Return a line for everything that an executed notebook must not hold: warnings, errors, paths of this machine."""
    paths = [str(one) for one in (ROOT, folder, Path.home(), Path(sys.prefix), Path(tempfile.gettempdir())) if str(one) != "/"]
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            told = output.get("text", "") + "".join(str(one) for kind, one in output.get("data", {}).items() if "image" not in kind)
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"{cell.id} warns or fails: {told or output.get('evalue')}")
            found += [f"{cell.id} names a path of this machine: {path}" for path in paths if path in told]
    size = len(nbformat.writes(notebook))
    return [*found, f"the notebook has {size} bytes; draw smaller pictures"] if size > LARGEST else found


async def execute(notebooks: dict[str, Any]) -> None:
    """Run all notebooks side by side.

    Raises:
        SystemExit: when one of them holds what it must not.
    """
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        # Settings of whoever runs this, other kernels among them, stay out.
        os.environ |= {
            name: str(home / name) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
        }
        os.environ |= {"JUPYTER_PLATFORM_DIRS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        folders = {language: home / language for language in notebooks}
        for folder in folders.values():
            folder.mkdir()
        await asyncio.gather(*(run(notebook, folders[language]) for language, notebook in notebooks.items()))
        wrong = [f"{NAMES[language]}: {line}" for language, one in notebooks.items() for line in faults(one, folders[language])]
    if wrong:
        raise SystemExit("\n".join(wrong))


def plain(notebook: Any) -> list[tuple[str, str, str]]:
    """Return what a notebook says before it is run."""
    return [(cell.id, cell.cell_type, cell.source) for cell in notebook.cells]


def main() -> int:
    """Write the notebooks, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="run nothing; say whether the notebooks are current")
    parser.add_argument("--out", type=Path, default=ROOT / "examples", help="the notebooks' folder")
    asked = parser.parse_args()
    source = SOURCE.read_text(encoding="utf-8")
    notebooks = {language: built(language, source) for language in NAMES}
    places = {language: asked.out / name for language, name in NAMES.items()}
    if asked.check:
        old = [path.name for language, path in places.items() if plain(nbformat.read(path, 4)) != plain(notebooks[language])]
        sys.stdout.write(f"not current, run scripts/notebooks.py: {', '.join(old)}\n" if old else "")
        return bool(old)
    asyncio.run(execute(notebooks))
    asked.out.mkdir(parents=True, exist_ok=True)
    for language, notebook in notebooks.items():
        nbformat.write(notebook, places[language])
    return 0


if __name__ == "__main__":
    sys.exit(main())
