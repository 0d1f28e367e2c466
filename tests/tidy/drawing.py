"""What ARCHITECTURE.md draws from the code: `python -m tests.tidy.drawing` writes it, a test compares."""

from pathlib import Path

from engine.core.lifecycle import PHASE_CHANGES
from engine.model.state import Phase

ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"
BEGIN, END = "<!-- lifecycle:begin -->", "<!-- lifecycle:end -->"


def lifecycle() -> str:
    """The table of phases as a state diagram."""
    lines = ["```mermaid", "stateDiagram-v2"]
    for (phase, event), after in PHASE_CHANGES.items():
        lines.append(f"    {phase or '[*]'} --> {after}: {event.__name__}")
        if phase is None:
            lines.append(f"    [*] --> {Phase.PENDING}: {event.__name__} with a start time")
    ends = sorted({after for after in PHASE_CHANGES.values() if after not in (Phase.PENDING, Phase.RUNNING)})
    lines += [f"    {phase} --> [*]" for phase in ends]
    return "\n".join([*lines, "```"])


def drawn(text: str) -> str:
    """`text` with the drawing in its place."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{lifecycle()}\n\n{END}{tail}"


if __name__ == "__main__":
    ARCHITECTURE.write_text(drawn(ARCHITECTURE.read_text(encoding="utf-8")), encoding="utf-8")
