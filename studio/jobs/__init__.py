"""Jobs: a run's place in the queue and its process. Starts stages, never imports them."""
