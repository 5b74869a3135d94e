"""Cut Noto Sans CJK down to the characters that a speech recogniser can print.

Usage: ``python scripts/subset_font.py NotoSansCJKsc-Regular.otf src/voxray/assets/fonts/NotoSansCJK-subset.otf``

The PyPI package ``mplfonts`` carries the full font (16 MB, SIL Open Font License 1.1). Kept: every character of GB 2312, Big5 with
the Hong Kong supplement, Shift JIS and EUC-KR, all Hangul syllables, kana, Latin, Greek, Cyrillic, arrows and signs: about 32,750
characters in 6 MB. Needs ``fonttools``.
"""

from __future__ import annotations

import argparse
from itertools import product

from fontTools import subset
from fontTools.ttLib import TTFont

LEGACY_ENCODINGS = ("gb2312", "big5", "big5hkscs", "shift_jis", "euc_kr")
BLOCKS = (
    (0x20, 0x180), (0x370, 0x460), (0x2000, 0x2070), (0x20A0, 0x20C0), (0x2100, 0x2600), (0x3000, 0x3100),
    (0x3130, 0x3190), (0x31F0, 0x3200), (0xAC00, 0xD7A4), (0xFF00, 0xFFF0),
)  # fmt: skip
UNUSED_TABLES = ("vhea", "vmtx", "VORG", "BASE", "GSUB", "GPOS", "GDEF")


def characters() -> set[int]:
    """Return the code points to keep."""
    kept = {code for first, stop in BLOCKS for code in range(first, stop)}
    for encoding, lead, trail in product(LEGACY_ENCODINGS, range(0x81, 0xFF), range(0x40, 0xFF)):
        text = bytes([lead, trail]).decode(encoding, errors="ignore")
        if len(text) == 1 and ord(text) < 0x20000:
            kept.add(ord(text))
    return kept


def main() -> None:
    """Read the full font, keep the characters, write the subset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("target")
    arguments = parser.parse_args()
    options = subset.Options(layout_features=[], hinting=False, notdef_outline=True, name_IDs=["*"])
    options.drop_tables += UNUSED_TABLES
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=characters())
    font = TTFont(arguments.source)
    subsetter.subset(font)
    font.save(arguments.target)


if __name__ == "__main__":
    main()
