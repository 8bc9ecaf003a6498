"""Training data: question sets, gold trajectories, records of trajectories."""
