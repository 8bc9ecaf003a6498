"""The agent loop in pure Python: the types that flow, the protocol, rollouts, rewards, events, errors."""
