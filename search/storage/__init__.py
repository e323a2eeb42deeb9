"""What is written where: the study, the run's folder, checkpoints, predictions, the lease."""
