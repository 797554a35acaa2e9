"""The command line with frequent checkpoints, for groups that are killed."""

from dataclasses import replace

from potstill.cli import main
from potstill.pipeline import run

if __name__ == "__main__":
    wrapped = run.run_all
    run.run_all = lambda graph, cache, options, *rest: wrapped(
        graph, cache, replace(options, checkpoint_every_s=0.05), *rest
    )
    main()
