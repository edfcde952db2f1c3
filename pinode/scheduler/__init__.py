"""Where dynos run and which release serves: planned from what is agreed and observed, done by the leader.

`plan.py` decides (pure), `scheduler.py` waits and does as told. See docs/scheduling.md.
"""
