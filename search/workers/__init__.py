"""The only place of Ray: what Ray Tune calls, and one trial on a worker."""
