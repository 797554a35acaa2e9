"""The one YAML root: its model, loading with file:line:column messages, and its JSON Schema."""
