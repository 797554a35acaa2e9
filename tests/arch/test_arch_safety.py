"""Files are never code: what could run or unpickle a file is not in the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from _tree import calls, imported, name, sources

PICKLES = {
    "pickle",
    "_pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
    "pickletools",
}
UNSAFE_CALLS = {
    "eval", "exec", "os.system", "os.popen", "pandas.read_pickle", "torch.save", "torch.hub.load",
    "torch.package.PackageImporter", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all",
    "yaml.full_load", "yaml.full_load_all",
}  # fmt: skip
UNSAFE_METHODS = {"save_state", "load_state"}
"""Accelerate's: they pickle."""
PROGRAM_HOMES = {
    "torch.jit.load": "src/potstill/core/runtimes/torchscript.py",
    "torch._inductor.aoti_load_package": "src/potstill/core/runtimes/aoti.py",
    "ctypes.CDLL": "src/potstill/core/runtimes/c.py",
}
"""Calls that run a program, and the runtime, served in a child process alone, that may make each."""
TORCH_LOAD_HOME = "src/potstill/models/tools/import_weights.py"


def _everywhere() -> Iterator[tuple[Path, str, ast.Call]]:
    for path, tree in sources().items():
        for full, call in calls(tree):
            yield path, full, call


def test_no_pickle_is_imported() -> None:
    found = [
        f"{name(path)}:{line} imports {module}"
        for path, tree in sources().items()
        for module, line in imported(tree)
        if module.split(".")[0] in PICKLES
    ]
    assert not found, found


def test_no_call_runs_or_unpickles_a_file() -> None:
    found = [
        f"{name(path)}:{call.lineno} calls {full}"
        for path, full, call in _everywhere()
        if full in UNSAFE_CALLS or full.rpartition(".")[2] in UNSAFE_METHODS
    ]
    assert not found, found


def test_torch_load_is_called_in_one_place_and_weights_only() -> None:
    found = [
        (name(path), call) for path, full, call in _everywhere() if full in ("torch.load", "torch.serialization.load")
    ]
    assert {where for where, _ in found} == {TORCH_LOAD_HOME}
    for where, call in found:
        flags = {k.arg: getattr(k.value, "value", None) for k in call.keywords}
        assert flags.get("weights_only") is True, f"{where}:{call.lineno}: weights_only must be True"


def test_programs_are_opened_by_their_runtimes_alone() -> None:
    found = {(full, name(path)) for path, full, _ in _everywhere() if full in PROGRAM_HOMES}
    assert found == set(PROGRAM_HOMES.items())


def test_only_children_import_runtimes() -> None:
    """A runtime is named, and imported in the child; what is shared and constants are the exception."""
    allowed = {"potstill.core.runtimes", "potstill.core.runtimes._base", "potstill.core.runtimes._torch"}
    for path, tree in sources().items():
        if "core/runtimes/" in name(path):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("potstill.core.runtimes."):
                constants = all(alias.name.isupper() for alias in node.names)
                assert node.module in allowed or constants, f"{name(path)}:{node.lineno} imports {node.module}"


def test_numpy_load_never_allows_pickle() -> None:
    for path, full, call in _everywhere():
        flags = {k.arg: getattr(k.value, "value", None) for k in call.keywords}
        where = f"{name(path)}:{call.lineno}"
        if full == "numpy.load":
            assert flags.get("allow_pickle") is False, f"{where}: np.load must say allow_pickle=False"
        assert flags.get("allow_pickle", False) is False, f"{where}: allow_pickle must be False"
        assert flags.get("shell", False) is False, f"{where}: no shell"
        assert flags.get("trust_remote_code", False) is False, f"{where}: no remote code"


def test_yaml_loaders_are_safe() -> None:
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr.endswith("Loader"):
                assert "Safe" in node.attr, f"{name(path)}:{node.lineno}: {node.attr} is not a safe loader"
