"""The files of a model folder beside its weights: JSON files as mappings, or one line that says what is wrong with them.

It knows nothing of what the settings mean. Invariant: a file that is there and is no mapping is never taken for an empty one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from actors.errors import UserError


def read_settings(folder: Path, name: str, field: str = "model") -> dict[str, Any]:
    """The settings in a file of a folder. Raises UserError of `field`, the setting that named the folder, where it is not
    there, may not be read or holds something else."""
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError.of(field, str(folder), f"no {name} there: name a model's folder") from None
    except PermissionError:
        raise UserError.of(field, str(folder), f"you may not read {name}") from None
    except ValueError as error:
        mend = f"{name} is not JSON ({error}): copy or save it again"
        raise UserError.of(field, str(folder), mend) from None
    if not isinstance(content, dict):
        raise UserError.of(field, str(folder), f"{name} holds no settings: copy or save it again")
    return content


def settings_if_any(folder: Path, name: str, field: str = "model") -> dict[str, Any]:
    """The same of a file that a folder may lack: empty then."""
    return read_settings(folder, name, field) if (folder / name).is_file() else {}


def has_chat_template(folder: Path, field: str = "model") -> bool:
    """Whether the tokenizer in a folder brings a chat template. Raises UserError of `field` where its config is damaged."""
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    return bool(settings_if_any(folder, "tokenizer_config.json", field).get("chat_template"))
