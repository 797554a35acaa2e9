"""The command line: parse, call, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import errno
import sys

_OF_THE_DISK = {
    errno.ENOSPC: "Free space",
    errno.EDQUOT: "Free space",
    errno.EROFS: "Make it writable",
    errno.EACCES: "Make it accessible",
    errno.EPERM: "Make it accessible",
    errno.EMFILE: "Raise the limit of open files (ulimit -n)",
}
"""Faults of the machine that any part may meet, and what to do."""


def main() -> None:
    """Run the command line; a user's error becomes one message and an exit code, never a traceback."""
    from potstill.core.errors import PotstillError

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name, or ×, on a terminal that cannot show it
    try:
        from potstill.cli.app import app

        app(prog_name="potstill")
    except PotstillError as err:
        print(f"error: {err}" if "\n" not in str(err) else str(err), file=sys.stderr)
        raise SystemExit(err.exit_code) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None
    except OSError as err:
        if err.errno not in _OF_THE_DISK:
            raise
        where = f"{err.filename}: " if err.filename else ""
        print(f"error: {where}{err.strerror}. {_OF_THE_DISK[err.errno]}, then run the same command again: what is finished "
              "is kept.", file=sys.stderr)  # fmt: skip
        raise SystemExit(2) from None
