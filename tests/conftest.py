"""What every test may ask for, and what no test may touch: the user's cache, the network, more than one thread."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

# In a shell's background job Ctrl-C is ignored, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before anything imports torch, NumPy or a hub client.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_DATASETS_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    DO_NOT_TRACK="1",
    TOKENIZERS_PARALLELISM="false",
    RAY_USAGE_STATS_ENABLED="0",
    FLWR_TELEMETRY_ENABLED="0",
    COLUMNS="160",
    NO_COLOR="1",
)
_cache = Path(tempfile.mkdtemp(prefix="potstill-test-cache-"))
os.environ["POTSTILL_CACHE"] = str(_cache)

from hypothesis import HealthCheck, settings  # noqa: E402 - after the environment is set

from forks import Server  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "ci", deadline=None, max_examples=50, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

MACHINE = "machine: "
"""A skip whose reason begins so is allowed everywhere: the machine has no GPU, is not Linux, runs as root, ..."""


def _required(what: str) -> bool:
    return os.environ.get(f"POTSTILL_REQUIRE_{what}", "0") not in ("", "0")


def data_folder() -> Path | None:
    """Return the folder of real data sets, or None where there is none."""
    named = os.environ.get("POTSTILL_DATA")
    folder = Path(named).expanduser() if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; skips where it is absent, fails where POTSTILL_REQUIRE_DATA=1 says it is there."""
    folder = data_folder()
    if folder is None:
        message = "data: needs the real data sets; set POTSTILL_DATA, or put them at ../shared/data"
        pytest.fail(message) if _required("DATA") else pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def require_tool() -> Callable[..., str]:
    """`require_tool("chromium", "google-chrome")` -> path of the first that is installed; skips where none is."""

    def find(*names: str) -> str:
        for name in names:
            path = shutil.which(name)
            if path is not None:
                return path
        message = f"tool: needs {' or '.join(names)}, which is not installed"
        pytest.fail(message) if _required("TOOLS") else pytest.skip(message)

    return find


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server, None, None]:
    """The process that forks those that run a command or are hurt."""
    server = Server(tmp_path_factory.mktemp("forks") / "log")
    yield server
    server.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where tools and data must be there, a skip for any reason but the machine's own nature is a failure."""
    return _strict((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """The same for a whole file that skips itself."""
    return _strict((yield))


def _strict(report: Any) -> Any:
    if report.outcome != "skipped" or hasattr(report, "wasxfail") or not isinstance(report.longrepr, tuple):
        return report
    reason = str(report.longrepr[2]).removeprefix("Skipped: ")
    about_data = any(word in reason for word in ("data:", "POTSTILL_DATA", "shared/data"))
    if not reason.startswith(MACHINE) and _required("DATA" if about_data else "TOOLS"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be skipped: {reason}"
    return report


def pytest_unconfigure() -> None:
    shutil.rmtree(_cache, ignore_errors=True)
