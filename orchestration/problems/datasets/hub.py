"""A published data set's file from the Hugging Face hub, which keeps every one as Parquet in one place:
`CONFIG/SPLIT/0000.parquet`.

It knows nothing of rows. Invariant: what was fetched once is taken from the hub's own cache; where it cannot be had, one
line says what to download.
"""

from __future__ import annotations

from pathlib import Path

from actors.errors import UserError

_REVISION = "refs/convert/parquet"


def hub_file(name: str) -> Path:
    """The file of a split, named as in `openai/gsm8k main/test`. Raises UserError where there is no hub, or no such file."""
    repository, _, split = name.strip().partition(" ")
    file = f"{split.strip()}/0000.parquet"
    if repository.count("/") != 1 or file.count("/") != 2:
        raise UserError.of(
            "dataset.hub", name, "write ORGANISATION/NAME CONFIGURATION/SPLIT, as in openai/gsm8k main/test"
        )
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repository, file, repo_type="dataset", revision=_REVISION))
    except Exception as error:  # no network, no such name, no right to it: each has classes of its own
        why = " ".join(str(error).split())[:120] or type(error).__name__
        mend = (
            f"it is on no hub that can be reached ({why}): download it once, by hf download {repository} {file} "
            f"--repo-type dataset --revision {_REVISION} --local-dir data, and give dataset.path=data/{file}"
        )
        raise UserError.of("dataset.hub", name, mend) from None
