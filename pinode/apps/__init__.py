"""What the cluster has agreed about apps: their builds, releases, formations and placements.

Everything here is pure: plain values, the commands that change them, and the `Registry` that applies
commands in log order, the same on every node. What is merely observed (is a dyno up, how hot is a Pi) is
not here.
"""
