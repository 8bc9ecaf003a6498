"""RAG-R1's data pipeline: trajectories by a teacher, questions worth training on, questions from documents.

``generate`` lets ``teachers`` answer questions: ``gold`` plans, a local model, or an ``endpoint``.
``rejection`` judges what they wrote. ``selection`` keeps the questions that a model gets right sometimes;
``questions`` makes new ones.
"""
