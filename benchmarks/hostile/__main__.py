"""`python -m skin_edge.benchmarks.hostile`."""

from .run import main

if __name__ == "__main__":
    main()
