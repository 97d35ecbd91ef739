"""Review: which checkpoint is her? Rounds, votes, the ranking they make, and the probes beside it."""
