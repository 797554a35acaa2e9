"""Damage done to samples, to see what a model makes of it: pure functions of (sample, severity 1 to 5, seed), NumPy only, one
kind of sample a file."""
