"""What an exporter's libraries say stays away from the terminal, whoever writes it; what comes after is heard again."""

from __future__ import annotations

import logging
import os
import sys
import warnings

import pytest

from potstill.exporters._told import quiet


def test_chatter_is_not_heard(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError), quiet():
        os.write(1, b"native\n")
        os.write(2, b"native\n")
        print("python")
        print("python", file=sys.stderr)
        logging.getLogger("converter").warning("python")
        warnings.warn("python", stacklevel=1)
        raise ValueError
    os.write(2, b"after\n")
    print("after")
    heard = capfd.readouterr()
    assert (heard.out, heard.err) == ("after\n", "after\n")
