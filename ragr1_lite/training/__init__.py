"""Training: the two stages, and what they share.

``sft`` and ``grpo`` are the stages, on TRL's trainers; ``trainer`` is what they have in common. ``run_folder`` keeps a
run, ``progress`` reports its steps, ``held_out`` measures questions while it goes, ``account`` sums up what it took.
``out_of_memory`` goes on in smaller passes, ``trackers`` are other programs' logs, ``planning`` predicts the memory.
"""
