"""Whether a set-up is sound, told before hours are spent on it. Read findings, then case, then checkup, which has the order.

`models`, `data` and `fits` look at files and settings alone; `trial` loads a model and asks it. Knows no console.
"""
