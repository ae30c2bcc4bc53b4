"""Who gets what of one budget. Pure: fed with numbers, tested with lists."""
