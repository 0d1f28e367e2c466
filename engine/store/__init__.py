"""The cache of one partition: `RocksStore` on disk, `MemoryStore` for tests. Either may be lost at any time."""
