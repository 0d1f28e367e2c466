"""The log on Kafka: group membership, transactional commits, idempotent appends, topics from one table."""
