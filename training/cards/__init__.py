"""Model cards: facts of the database as a dict, that dict as Markdown, and pictures of it."""
