"""A package, so that `tests.kafka_fixture` is ours whatever else the environment calls `tests`."""
