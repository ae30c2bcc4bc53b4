"""What to spend where, from samples that are stored: difficulty, the value table, replay of allocators. Read pools,
then bench."""
