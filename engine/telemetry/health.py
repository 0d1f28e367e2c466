"""How a process is, in the form in which probes are told: checks, each with its reason."""

import msgspec


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    is_good: bool
    detail: str


class Health(msgspec.Struct, frozen=True):
    """All of them."""

    checks: list[Check]

    @property
    def is_good(self) -> bool:
        """Whether each of them is."""
        return all(check.is_good for check in self.checks)

    def body(self) -> bytes:
        """As JSON."""
        checks = {
            each.name: {"status": "pass" if each.is_good else "fail", "detail": each.detail}
            for each in self.checks
        }
        return msgspec.json.encode({"status": "pass" if self.is_good else "fail", "checks": checks}) + b"\n"
