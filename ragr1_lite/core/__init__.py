"""The agent loop in pure Python.

``types`` has what flows, from ``Example`` to ``Trajectory``; ``protocol`` renders prompts and parses turns; ``rollout``
turns questions into trajectories; ``rewards`` scores them, and ``evidence`` finds the passages that hold an answer.
``hiding`` keeps passages from a question. ``events`` are what library code reports, ``errors`` what a user can fix,
``urls`` keeps passwords out of both.
"""
