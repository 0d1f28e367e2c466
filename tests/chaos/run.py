"""`python -m tests.chaos.run [--seed N] [--seconds N] [--faults KIND,KIND]`: real crashes for a while."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.driver import Chaos, Plan
from tests.chaos.faults import FAULTS

SECONDS = 480.0
IN_FLIGHT = 64


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="of trouble; calm and checks come after"
    )
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT)
    parser.add_argument("--faults", default=",".join(FAULTS), help="kinds, with commas; default: all")
    parser.add_argument("--keep", type=Path, default=None, help="where logs and topics are left")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    kinds = tuple(options.faults.split(","))
    unknown = sorted(set(kinds) - FAULTS.keys())
    if unknown:
        parser.error(f"expected kinds of {', '.join(FAULTS)}, but got {', '.join(unknown)}")
    directory = options.keep or Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    plan = Plan(seed=seed, seconds=options.seconds, kinds=kinds, in_flight=options.in_flight)
    print(f"{line_of(plan)}  # in {directory}", flush=True)
    report = Chaos(plan, directory).run()
    print(report.text())
    if report.is_clean:
        if options.keep is None:
            shutil.rmtree(directory)
        return 0
    print(f"FAILED; again: {line_of(plan)}\n  topics and logs are in {directory}")
    return 1


def line_of(plan: Plan) -> str:
    """What repeats a run."""
    faults = "" if set(plan.kinds) == set(FAULTS) else f" --faults '{','.join(plan.kinds)}'"
    return (
        f"python -m tests.chaos.run --seed {plan.seed} --seconds {plan.seconds:.0f} "
        f"--in-flight {plan.in_flight}{faults}"
    )


if __name__ == "__main__":
    sys.exit(main())
