"""Who speaks to whom in secret: certificates between nodes, and those that visitors see."""
