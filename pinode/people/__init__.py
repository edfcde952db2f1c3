"""Who may do what: users, sessions, tokens. Pure values and the commands that change them."""
