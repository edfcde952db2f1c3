"""Whole groups in virtual time from a seed: real cores, logs and clients, a bad network, bad disks, bad clocks."""
