"""Real crashes on a real Kafka of three brokers: `make chaos`, and a slice of it in `make test`."""
