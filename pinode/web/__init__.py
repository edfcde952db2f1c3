"""What people and programs meet over HTTP: the JSON API under /api/v1 and the pages, the same on every node.

A handler parses, calls one function of a lower folder and answers; no rule of the platform is first written
here. All routes stand in one table (`routes.py`) with who may use them, and the tests check every row of it.
"""
