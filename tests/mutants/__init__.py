"""Planted bugs: each must turn a named test red. `make mutants` tries them all, on a copy of the sources.

A list is a file of this folder with `MUTANTS`, a tuple of `Mutant`; the runner finds it by itself.
"""
