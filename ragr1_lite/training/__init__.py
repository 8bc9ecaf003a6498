"""Training: SFT and GRPO, the memory plan, the run folder, held-out questions."""
