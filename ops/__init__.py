"""What operators and tests run beside the engine; nothing in here is imported by `engine`."""
