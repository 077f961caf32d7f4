"""Mutated files of every format, read in child processes whose memory and time are capped."""
