"""What runs in processes of its own because it may never return: parsing and scoring of a model's text."""
