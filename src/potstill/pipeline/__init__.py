"""Recipe -> plan -> run folder: keys, the artifact cache, execution, resume, and the figures of the report."""
