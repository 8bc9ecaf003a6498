"""Training data: what is read, and how it is trained.

``questions`` reads question sets, ``benchmarks`` knows some by name, ``sets`` chooses between them and the embedded
world. ``gold`` replays plans through the rollout; ``trajectories`` are kept in files, ``viewing`` shows them,
``targets`` says which of their tokens are trained; ``curriculum`` orders the questions.
"""
