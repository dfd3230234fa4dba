"""What the benchmarks ask of the peers, written in the peers' own terms."""
