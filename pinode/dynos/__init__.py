"""The dynos of this node: what is placed here is fetched, started, watched, stopped and reported.

`dyno` decides alone what happens to one dyno (a core: events and the time in, effects out); `supervisor` and
its parts carry it out. Dynos outlive the node process: a restarted one finds them by process id, start time
and boot id.
"""
