"""Benchmarks: ratios within one run, as a table and as JSON; nothing here is a test."""
