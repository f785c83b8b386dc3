"""How this program starts processes of its own."""

from __future__ import annotations

import sys
from pathlib import Path


def module_command(module: str) -> tuple[str, ...]:
    """Runs `module` of this very program.

    Without `-P` Python looks into the working folder first, and a folder `cdn` there, a clone of this repository among
    them, would be taken for the program. It is left out where this process itself was started from that folder.
    """
    try:
        is_on_path = not {"", str(Path.cwd())}.isdisjoint(sys.path)
    except FileNotFoundError:  # the working folder was removed
        is_on_path = False
    return (sys.executable, *(() if is_on_path else ("-P",)), "-m", module)
