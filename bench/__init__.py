"""Our engine in a harness that measures several engines with the same workloads in one run."""
