"""What the command line says of retention becomes the owners' policy, or is refused by its name."""

import pytest

from engine.errors import ConfigurationError
from engine.model.retention import RetentionPolicy
from engine.settings import Settings


def test_by_default_everything_is_kept():
    assert Settings().owner().retention == RetentionPolicy()


def test_what_is_set_is_the_owners_policy():
    settings = Settings(retention_any_terminal="7d", retention_failed="1h30m", retention_completed="0s")
    assert settings.worker().owner.retention == RetentionPolicy(
        any_terminal_ms=604_800_000, failed_ms=5_400_000, completed_ms=0
    )
    assert Settings(retention_per_second=7).owner().retention_per_second == 7


def test_what_is_no_duration_is_refused_with_the_option_and_the_variable():
    remedy = "but it is '1 week'; change --retention-failed or ENGINE_RETENTION_FAILED"
    with pytest.raises(
        ConfigurationError, match=f"retention_failed: expected a duration such as .* {remedy}"
    ):
        Settings(retention_failed="1 week")
