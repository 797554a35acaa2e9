"""The trainer: a plain PyTorch loop, its checkpoints, its logs and its first-batch checks.

Nothing here knows a recipe, a stage or a file format other than safetensors and JSON.
"""
