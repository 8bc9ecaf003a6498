"""Memory and time of a training, known before anything is loaded.

::

    shapes.py      a model's sizes: from its config.json, else from a small table
    memory.py      what each part takes, one function and one formula a part
    machine.py     the device and its memory
    forecast.py    parts to a plan
    suggest.py     the nearest settings that fit
    steps.py       two real steps, measured; runs in a process of its own
    probe.py       starts that process and corrects the plan
"""

from ragr1_lite.training.planning.forecast import Plan, plan
from ragr1_lite.training.planning.probe import corrected, probe

__all__ = ["Plan", "corrected", "plan", "probe"]
