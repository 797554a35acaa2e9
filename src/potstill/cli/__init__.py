"""The command line: parse, call, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; a user's error becomes one message and an exit code, never a traceback."""
    from potstill.core.errors import PotstillError

    try:
        from potstill.cli.app import app

        app(prog_name="potstill")
    except PotstillError as err:
        print(f"error: {err}" if "\n" not in str(err) else str(err), file=sys.stderr)
        raise SystemExit(err.exit_code) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None
