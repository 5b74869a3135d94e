"""The house keeps its own rules: who may import whom, how long a function may be, what the documents may name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "voxray"

# Room -> rooms that it may import. A room is a module or folder of src/voxray; a folder may always import itself, but families,
# methods and views never one another.
BASE = {"types"}
RULES: dict[str, set[str]] = {
    "types": set(),
    "audio": BASE,
    "frontend": BASE,
    "front": BASE | {"frontend"},
    "ctc": BASE,
    "edges": BASE,
    "warping": BASE,
    "dictation": BASE | {"ctc", "vocabulary"},
    "seams": BASE,
    "standing": BASE,
    "timing": BASE | {"alignment", "seams"},
    "truespeech": BASE,
    "vad": BASE,
    "vocabulary": BASE,
    "alignment": BASE | {"vocabulary"},
    "richtext": {"vocabulary"},
    "graph": BASE,
    "transcript": BASE | {"ctc", "alignment", "richtext", "vocabulary"},
    "storage": set(),
    "trace": BASE | {"ctc", "richtext", "vocabulary", "tracefile"},  # tracefile inside Trace.save
    "tracefile": BASE | {"storage", "trace"},
    "attention": BASE | {"trace"},
    "models": BASE
    | {"audio", "ctc", "dictation", "edges", "front", "frontend", "graph", "timing", "trace", "transcript", "vad", "vocabulary"}
    | {"warping"},
    "targets": BASE | {"ctc", "trace", "vocabulary"},
    "case": BASE | {"front", "frontend", "models", "targets", "trace"},
    "masking": BASE | {"alignment", "front"},
    "sanm": BASE,
    "lens": BASE | {"case", "sanm"},
    "mixing": BASE | {"case", "masking", "methods", "sanm"},
    "methods": BASE | {"alignment", "case", "ctc", "masking", "mixing", "sanm", "targets"},
    "explanation": BASE | {"case", "lens", "methods", "models", "standing", "targets", "trace"},
    "listen": BASE | {"storage"},
    "texts": BASE | {"vocabulary"},
    "edits": BASE | {"texts"},
    "sounds": BASE,
    "measures": BASE,
    "manifest": BASE,
    "exports": BASE | {"storage"},
    "studies": BASE
    | {
        "alignment",
        "api",
        "attention",
        "audio",
        "case",
        "ctc",
        "edits",
        "explanation",
        "exports",
        "frontend",
        "lens",
        "manifest",
        "masking",
        "measures",
        "methods",
    }
    | {"models", "sounds", "storage", "targets", "texts", "trace", "truespeech", "vad", "views", "vocabulary"},
    "views": BASE | {"alignment", "storage"},
    "plot": BASE | {"attention", "frontend", "trace", "views"},
    "demo": {"trace"},
    "api": BASE | {"audio", "graph", "models", "plot", "trace", "tracefile"},
    "app": BASE | {"__init__"},
    "cli": {"__init__", "app"},  # the page opens inside the call
    "__main__": {"cli"},
    "__init__": BASE
    | {"api", "attention", "demo", "edits", "explanation", "exports", "frontend", "lens", "listen", "manifest", "methods", "plot"}
    | {"standing", "studies", "texts", "trace", "alignment"},
}
ONNX_ROOMS = {"graph"}
PLOT_ROOMS = {"views"}
LONGEST_FUNCTION = 60


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def outside() -> list[Path]:
    """What is not shipped: the recipe of the bundled model, benchmarks, scripts."""
    return sorted(path for folder in ("training", "benchmarks", "scripts") for path in (ROOT / folder).rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return parts[0] if len(parts) > 1 else path.stem


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, as dotted names."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            found |= {f"{node.module}.{one.name}" for one in node.names}
    return found


def rooms_imported(path: Path) -> set[str]:
    inside = {name for name in imports(path) if name == "voxray" or name.startswith("voxray.")}
    known = set(RULES)
    parts = (name.split(".")[1:2] or ["__init__"] for name in inside)
    return {part[0] if part[0] in known else "__init__" for part in parts}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_follow_the_house(path: Path) -> None:
    own = room(path)
    assert own in RULES, f"{path.name} is in no room of the house: add it to RULES"
    assert rooms_imported(path) - {own} <= RULES[own]


def test_only_the_workshop_imports_onnx() -> None:
    for path in modules():
        if any(name.split(".")[0] in ("onnx", "onnxruntime") for name in imports(path)):
            assert room(path) in ONNX_ROOMS, path.name


def test_only_views_import_a_plotting_library() -> None:
    for path in modules():
        if any(name.split(".")[0] == "matplotlib" for name in imports(path)):
            assert room(path) in PLOT_ROOMS | {"plot"}, path.name  # plot.py names Figure in its annotations


def test_families_do_not_import_one_another() -> None:
    for path in (SOURCE / "models").glob("*.py"):
        others = {f"voxray.models.{one.stem}" for one in (SOURCE / "models").glob("*.py")}
        others -= {f"voxray.models.{path.stem}", "voxray.models.family"}  # the base that they share
        assert path.stem == "__init__" or not {name.rsplit(".", 1)[0] for name in imports(path)} & others


def test_no_function_is_too_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} {node.end_lineno - node.lineno + 1}"
        for path in [*modules(), *outside()]
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= LONGEST_FUNCTION
    ]
    assert long == []


def test_public_functions_have_docstrings() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in [*modules(), *outside()]
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_") and not ast.get_docstring(node)
        if not _inside_private(path, node) and not _is_overload(node)
    ]
    assert bare == []


def _is_overload(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Overloads say types; the function after them says the rest."""
    return any(isinstance(one, ast.Name) and one.id == "overload" for one in node.decorator_list)


def _inside_private(path: Path, node: ast.AST) -> bool:
    """Methods of private classes and functions within functions are nobody's public face."""
    for owner in ast.walk(tree(path)):
        hidden = isinstance(owner, ast.ClassDef) and owner.name.startswith("_")
        if (hidden or isinstance(owner, ast.FunctionDef)) and owner is not node and node in ast.walk(owner):
            return True
    return False


@pytest.mark.parametrize("statement", ["import voxray", "import voxray.cli", "from voxray.types import Audio"])
def test_importing_is_light(statement: str) -> None:
    heavy = ("onnx", "onnxruntime", "matplotlib", "xarray", "pandas", "soundfile", "av", "soxr", "rich", "kaldi_native_fbank")
    code = f"{statement}\nimport sys\nprint([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_importing_and_helping_is_quick() -> None:
    def fastest(*command: str) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            subprocess.run([sys.executable, *command], capture_output=True, check=True)
            times.append(time.perf_counter() - started)
        return min(times)

    assert fastest("-c", "import voxray") <= 0.3
    assert fastest("-m", "voxray", "--help") <= 0.6


def test_no_machine_path_is_committed() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    texts = [ROOT / name for name in listed if name.endswith((".py", ".md", ".toml", ".yml", ".json", "Makefile", "run"))]
    pattern = re.compile(r"(?<![\w.])/(?:work|home|root|Users)/")
    assert [path.name for path in texts if path.is_file() and pattern.search(path.read_text(encoding="utf-8"))] == []
