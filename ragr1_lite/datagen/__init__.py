"""RAG-R1's data pipeline: trajectories by a teacher, the questions worth training on, questions from documents."""
