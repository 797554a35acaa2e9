"""One runtime a module, each opened in a process of its own by `core.child`; none is imported by the rest of potstill.

A module has `warm()`, which loads the runtime, and `opened(path, threads)`, which gives a `Session`.
"""
