"""The command line: commands, what they run in, doctor, quickstart."""
