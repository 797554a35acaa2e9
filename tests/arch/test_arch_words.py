"""What the repository may not say: paths of one machine, package hosts, secrets."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from _tree import ROOT

SUFFIXES = {"", ".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".html", ".css", ".js", ".json", ".sh", ".cfg"}

FORBIDDEN = {
    "an absolute path of one machine": re.compile(r"(?<![\w.$}/~-])/(?:work|home|root|Users)/|/tmp/(?!x\b)[a-z]+/"),
    "a package host or index": re.compile(
        r"(?i)(?:pypi|pythonhosted|download\.pytorch|anaconda|jfrog|artifactory)\.(?:org|com|io)|--(?:extra-)?index"
        "-url"
    ),
    "a private address": re.compile(r"\b(?:10\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2}\b"),
    "a secret": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}"),
}


def _files() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("machine: this is no git checkout")
    names = done.stdout.decode().split("\0")
    return [ROOT / n for n in names if n and (ROOT / n).is_file() and Path(n).suffix in SUFFIXES]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_has(what: str) -> None:
    files = [f for f in _files() if f != Path(__file__).resolve()]
    assert len(files) > 50
    found = []
    for path in files:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            match = FORBIDDEN[what].search(line)
            if match:
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()!r}")
    assert not found, f"{what}:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("an absolute path of one machine", "see /home/me/x"),
        ("a package host or index", "pip install --index-url https://example"),
        ("a private address", "http://10.0.0.7:8080"),
        ("a secret", "-----BEGIN RSA PRIVATE KEY-----"),
    ],
)
def test_the_patterns_match_what_they_should(what: str, text: str) -> None:
    assert FORBIDDEN[what].search(text)
