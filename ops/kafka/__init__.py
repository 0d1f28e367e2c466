"""Apache Kafka for tests and development, from jars, without Docker, Maven or Java on the machine."""
