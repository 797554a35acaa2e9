"""What every layer may use: specs, errors, hashing, atomic files, counter-based randomness, progress.

Nothing here knows what a recipe, a model or a stage is. Imports no other part of potstill, and never torch at import.
"""
