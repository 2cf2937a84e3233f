"""The benchmarks: what the product does in a second, beside what the machine could do, in the same run."""
