"""Hypothesis tries the same examples on every run: a test that fails now and then tells nobody anything."""

from hypothesis import settings

settings.register_profile("core", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("core")
