"""Public verifiers: how each family is shown a question and steps, and which of its numbers is the score of a step.

`known` lists them and tells a folder's; `pieces` makes token ids, `formats` and `chats` each family's prompt. Heads need
torch, and are in `class_head` beside this folder.
"""
