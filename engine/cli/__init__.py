"""The command line: reads arguments, calls the rings below, prints what they say. Has no rules of its own."""
