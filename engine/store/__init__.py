"""The cache of one partition, `RocksStore` on disk or `MemoryStore` for tests. May be lost at any time."""
