"""Making a trained model smaller: what a step of a recipe calls, and what works on any module without one.

One method a file, named by what it does (`quant_...`, `prune_...`). Knows data as tensors only; no stage, no format.
"""
