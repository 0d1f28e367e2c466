"""The pure heart: a record in, events and effects out. No clock, no IO, no thread, no chance."""
