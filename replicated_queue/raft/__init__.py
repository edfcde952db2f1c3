"""The consensus algorithm, pure: messages and ticks go in, and a `Ready` of what to do comes out.

Names follow the Raft paper (its sections are cited as §) and, for messages, roles and progress states, the
reference implementation.
"""
