"""Ways to spend a problem's generations. Pure: no Ray, no torch. Read registry, then one of them."""
