"""The queue itself, as every replica holds it: jobs by priority, leased under fencing tokens.

A core: commands go in with their place in the log and the cluster time, results come out. Two replicas that
apply the same entries hold the same queue.
"""
