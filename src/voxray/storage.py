"""Writes files whole or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """Give a new file beside the target; when it is whole it takes the target's place, else the target stays as it was.

    Args:
        target: the file to write.

    Raises:
        OSError: when the folder cannot be written to.
    """
    fresh = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with fresh.open("xb") as stream:
            yield stream
        fresh.replace(target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
