"""Who gets what of one budget. Pure: fed with numbers, tested with lists. Read value_table, choices, price, walk; then
fitting and plan for where a table comes from, and priced for the scheduler's side."""
