"""Models whose cost is known, to be timed on a device: a list of nets as data, and their files for each runtime.

Written without PyTorch, so that a board with a runtime and NumPy can make them itself. Weights are drawn, not trained: how long a net
takes is a matter of its shapes. Nothing here runs a model: `verify.calibrate` does.
"""
