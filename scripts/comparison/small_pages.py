"""Runs a command to which the kernel gives no huge pages, to show what they cost or save.

    python -m comparison.small_pages COMMAND…
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_THP_DISABLE = 41


def main() -> None:
    # Holds for what replaces this process, too.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0:
        sys.exit(f"the kernel does not let huge pages be switched off: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
