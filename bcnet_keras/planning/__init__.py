"""Which binary net a pair gets: candidates, what they cost untrained, and a search among the best of them."""
