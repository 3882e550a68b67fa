"""What people and programs outside are not told: where things lie on this machine."""

from __future__ import annotations

import re
from pathlib import Path

_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^\s/'\"]+/)+")


def without_paths(text: str, published: Path) -> str:
    """A message with the names of files, but not the folders that they are in.

    Args:
        text: the message, such as an exception's.
        published: the folder of the snapshots, whose path may hold anything.
    """
    for folder in {published.resolve(), published.absolute(), published}:
        text = text.replace(f"{folder}/", "").replace(str(folder), "the published folder")
    return _FOLDERS.sub("", text)
