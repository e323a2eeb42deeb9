"""The only folder that imports Ray: what Ray Tune calls, and one trial on a worker."""
