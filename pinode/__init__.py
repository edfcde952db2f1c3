"""pinode: a mini Heroku on a cluster of Raspberry Pis, without a fixed master."""

__version__ = "0.1.0.dev0"
