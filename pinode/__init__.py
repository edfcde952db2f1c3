"""pinode: a mini Heroku on a cluster of Raspberry Pis, without a fixed master."""
