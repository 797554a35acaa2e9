"""A child of `workers`: reads nodes to run, one JSON line each, and answers with events."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError
from potstill.core.progress import Progress


def main() -> None:
    """Run until standard input closes."""
    out = sys.stdout
    sys.stdout = sys.stderr  # nothing but events may go to the parent
    lines: queue.Queue[str | None] = queue.Queue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(lines, busy), daemon=True).start()
    first = lines.get()
    if first is None:
        return
    try:
        run = _prepare(json.loads(first), Progress("json", out))
        while (line := lines.get()) is not None:
            busy.set()
            message = json.loads(line)
            outcome = run(message["node"], message["key"])
            busy.clear()
            _say(out, event="done", cached=outcome.cached, seconds=outcome.seconds)
    except KeyboardInterrupt:
        _say(out, event="error", type="KeyboardInterrupt", text="")
    except PotstillError as err:
        _say(out, event="error", type=type(err).__name__, text=str(err))
    except OSError as err:
        _say(
            out,
            event="error",
            type="OSError",
            text=err.strerror,
            number=err.errno,
            file=err.filename and str(err.filename),
        )
    except Exception:
        _say(out, event="error", type="RuntimeError", text=traceback.format_exc())


def _listen(lines: queue.Queue[str | None], busy: threading.Event) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(None)
    if busy.is_set():  # the parent is gone: what is finished is on disk, the rest resumes
        os._exit(1)


def _prepare(setup: dict[str, Any], progress: Progress) -> Any:
    sys.path[:] = setup["path"]
    from potstill.pipeline.cache import ArtifactCache
    from potstill.pipeline.execute import Executor, Outcome
    from potstill.pipeline.graph import build
    from potstill.recipe.model import Recipe
    from potstill.stages import RunOptions

    cache = ArtifactCache(Path(setup["options"]["cache"]))
    options = RunOptions(**{**setup["options"], "cache": cache.root})
    recipe = Recipe.model_validate(setup["recipe"])
    if setup["made"] is None:
        graph = build(recipe, cache.digests, cache)
    else:
        from potstill.pipeline.arms import CompareSpec
        from potstill.pipeline.compare import joined

        graph = joined(recipe, CompareSpec.model_validate(setup["made"]["compare"]), cache).graph
    executor = Executor(graph, cache, options, progress)

    def run(name: str, key: str) -> Outcome:
        if graph.nodes[name].key != key:
            raise PotstillError(
                f"{name}: a source or data file must not change while a run is under way; it did. Run again."
            )
        return executor.run(graph.nodes[name])

    return run


def _say(out: Any, **event: Any) -> None:
    print(json.dumps(event), file=out, flush=True)


if __name__ == "__main__":
    main()
