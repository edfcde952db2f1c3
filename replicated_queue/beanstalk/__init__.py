"""The beanstalk door: clients of beanstalkd, in any language, find its protocol on the replicated queue.

`protocol` reads what a client says, `session` answers it, `hall` is what all clients share, `door` listens;
`__main__` is all of it as a program of its own, on a queue of one node.
"""
