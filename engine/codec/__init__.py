"""Structs to bytes and back: Avro records, the JSON form of commands, topic names and keys. No clock, no IO.

The one exception is the reading of the schema files, once, at import.
"""
