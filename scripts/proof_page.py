"""Takes a run of the benchmark into the repository: the table of docs/proof.md, its pictures, and what the package says of methods.

    voxray bench -o result -p 2 && python scripts/proof_page.py result

Writes ``docs/proof/table.json``, ``docs/proof/items.csv.gz``, ``docs/images/proof-*.png``, the tables in ``docs/proof.md`` and
``docs/proof.zh.md``, and ``src/voxray/assets/evidence.json``, by which maps are called explanations or views.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from voxray.standing import EVIDENCE
from voxray.views.bench import markdown, write

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BEGIN, END = "<!-- table -->", "<!-- /table -->"
PLOTS = ("A-word-pointing", "A-word-deletion", "A-word-frontier", "word-ranks", "C-contrast-pointing", "D-planted-pointing")
PAGES = {"en": DOCS / "proof.md", "zh": DOCS / "proof.zh.md"}


def main(run: Path) -> int:
    """Take a run in; refuse one that is not whole or not sane."""
    table: dict[str, Any] = json.loads((run / "table.json").read_text(encoding="utf-8"))
    failed = [gate["name"] for gate in table["gates"] if gate["passed"] is False]
    if failed or table["provenance"]["quick"]:
        sys.stderr.write(f"{run} is no result: {', '.join(failed) or 'a quick run'}\n")
        return 2
    (DOCS / "proof").mkdir(exist_ok=True)
    _json(DOCS / "proof" / "table.json", table)
    packed = gzip.compress((run / "items.csv").read_bytes(), mtime=0)  # the same figures give the same bytes
    (DOCS / "proof" / "items.csv.gz").write_bytes(packed)
    _json(EVIDENCE, {name: table[name] for name in ("provenance", "gates", "status")})
    write(table, run)
    for name in PLOTS:
        shutil.copyfile(run / "plots" / f"{name}.png", DOCS / "images" / f"proof-{name}.png")
    for language, page in PAGES.items():
        text = page.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        made = markdown(table, language="zh" if language == "zh" else "en")
        page.write_text(f"{before}{BEGIN}\n\n{made}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0


def _json(path: Path, told: dict[str, Any]) -> None:
    path.write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
