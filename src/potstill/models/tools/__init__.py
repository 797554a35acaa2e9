"""What is done with models of every family: build, preprocess, profile, save, load, import weights. Loads torch."""
