"""How RocksDB is set up for one partition: small, since a process has several and each is only a cache."""

from rocksdict import BlockBasedOptions, Cache, Options, WriteOptions

WRITE_BUFFER_BYTES = 16 * 1024 * 1024
# With fewer buffers a flush that is asked for while another runs waits for it, on the owner's thread.
WRITE_BUFFERS = 4
BLOCK_CACHE_BYTES = 16 * 1024 * 1024
BLOOM_BITS_PER_KEY = 10
BACKGROUND_THREADS = 2
INFO_LOG_BYTES = 1024 * 1024
INFO_LOGS = 2


def options() -> Options:
    """Raw mode: otherwise rocksdict pickles, and what was read from a file must never be unpickled."""
    made = Options(raw_mode=True)
    made.create_if_missing(True)
    made.set_paranoid_checks(True)
    made.set_write_buffer_size(WRITE_BUFFER_BYTES)
    made.set_max_write_buffer_number(WRITE_BUFFERS)
    made.set_max_background_jobs(BACKGROUND_THREADS)
    made.set_max_log_file_size(INFO_LOG_BYTES)
    made.set_keep_log_file_num(INFO_LOGS)
    made.set_block_based_table_factory(_table_options())
    return made


def write_options() -> WriteOptions:
    """Without the write-ahead log: the log of record is elsewhere, and a second one only costs."""
    made = WriteOptions()
    made.disable_wal = True  # type: ignore[method-assign,assignment]  # the stub is wrong, it is an attribute
    return made


def _table_options() -> BlockBasedOptions:
    made = BlockBasedOptions()
    made.set_block_cache(Cache(BLOCK_CACHE_BYTES))
    made.set_bloom_filter(BLOOM_BITS_PER_KEY, False)
    return made
