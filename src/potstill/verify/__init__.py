"""What an artifact does when it runs: accuracy, latency, memory; and what the figures allow to be said.

Each figure is `measured` (here), `emulated`, `modelled` or `unknown`; never one for another.
"""
