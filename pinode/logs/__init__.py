"""What dynos print: a bounded file for each on its node, merged over dynos and nodes when somebody asks."""
