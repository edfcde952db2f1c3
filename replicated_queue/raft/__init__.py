"""The consensus algorithm, pure: messages and time go in, a `Ready` of what to persist, send and apply comes out.

Named after the Raft paper (§) and, for messages, roles and progress states, after the field's reference implementation.
"""
