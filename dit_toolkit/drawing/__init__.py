"""Samples in files, drawn by any number of processes, as often interrupted as may be."""
