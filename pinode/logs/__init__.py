"""What dynos print: a bounded file for each dyno on its node, merged over all dynos and nodes when somebody asks."""
