"""The command `cdn` and the composition roots: only here are parts wired together."""
