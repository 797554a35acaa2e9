"""The soft-label store: codecs, shards, manifest, check and repair; and its live twin that fills on demand."""
