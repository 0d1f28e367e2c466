"""Benchmarks of the whole system on a real Kafka: what they measure is written at the top of each."""
