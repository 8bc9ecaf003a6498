"""A trained model as a repository of the Hugging Face hub: its files, a card of what is known, and the upload."""
