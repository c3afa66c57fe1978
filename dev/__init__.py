"""What a deployment does not need: the local stack, the demo, the benchmarks."""
