"""The commands, a group to a file: each parses, calls the library and shows what came of it."""
