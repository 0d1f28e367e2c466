"""One partition's machine: what it owns, turn by turn, commit by commit. Pure but for its ports."""
