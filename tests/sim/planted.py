"""Planted bugs against the checkers: each must be noticed, and by the invariant that it breaks."""

import multiprocessing

import msgspec

from engine.testing.world import Plan
from tests.sim.campaign import try_plan
from tests.sim.mutants import MUTANTS

SEEDS_PER_MUTANT = 500


class Kill(msgspec.Struct, frozen=True):
    """The seed by which a mutant was named, and in which words; or the seed after which nobody had."""

    mutant: str
    seed: int
    words: str

    @property
    def is_named(self) -> bool:
        """Whether a checker spoke of the invariant that the mutant breaks."""
        return self.words.startswith(f"{MUTANTS[self.mutant].breaks}: ")


def kill(name: str, seeds: int = SEEDS_PER_MUTANT) -> Kill:
    """Runs seeds until one names the invariant; else the last other complaint, if there was any."""
    mutant, words = MUTANTS[name], ""
    with mutant.plant():
        for seed in range(seeds):
            outcome = try_plan(Plan(seed=seed, focus=mutant.focus))
            words = outcome.failure or words
            found = Kill(name, seed, outcome.failure)
            if found.is_named:
                return found
    return Kill(name, seeds, words)


def run_mutants(processes: int) -> int:
    """Plants all of them. How many were not named within their seeds."""
    survivors = 0
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for found in pool.imap(kill, MUTANTS):
            survivors += not found.is_named
            verdict = f"seed {found.seed}" if found.is_named else "SURVIVED"
            print(f"{found.mutant}: {verdict}: {found.words:.150}", flush=True)
    print(f"{len(MUTANTS)} mutants, {survivors} survived {SEEDS_PER_MUTANT} seeds")
    return survivors
