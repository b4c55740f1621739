"""The share protocol, sans-IO: frames, state table, credit, core."""
