"""The command line: reads arguments, calls the rings below, prints what they say. Holds no rules of its own."""
