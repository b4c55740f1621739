"""Fuzzing: what a stranger's bytes can do, found by coverage, not by thought. ``python -m fuzz --help``."""

TARGETS = ("packet", "association", "reassembly", "frames", "link", "names")
"The modules that have a target, by the words of the command."
