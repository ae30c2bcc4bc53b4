"""Which failures of a start pass by themselves, and which are mistakes: the list, by type, by error number and by words.

A trouble is worth another start on the same settings (memory that a dying process still holds, a port, a network disk); a
mistake (a model that vLLM does not know, files that are not there) fails each time alike, and is told once. It knows
nothing of replicas or Ray. Invariant: where both could be read out of an error, it is a mistake: its words are the more
exact.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

from actors.errors import UserError

Kind = Literal["mistake", "trouble", "unknown"]

T = TypeVar("T")

TRIES = 4
"""How often `insist` asks."""

PAUSE_S = 1.0
"""Seconds before it asks the second time; twice as many before each further one."""

MISTAKE_TYPES = (
    UserError,
    ImportError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)

TROUBLE_TYPES = (TimeoutError, ConnectionError, MemoryError, EOFError)
"""An end of file: a process of the engine's own went before it had answered."""

TROUBLE_NAMES = {"OutOfMemoryError", "ActorUnavailableError", "RpcError", "EngineDeadError"}
"""Types of torch, Ray and vLLM, by name: this module imports none of them."""

TROUBLE_NUMBERS = {
    errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EAGAIN, errno.EBUSY, errno.ECONNABORTED, errno.ECONNREFUSED,
    errno.ECONNRESET, errno.EDQUOT, errno.EHOSTUNREACH, errno.EINTR, errno.EIO, errno.EMFILE, errno.ENETUNREACH,
    errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC, errno.ENOTCONN, errno.EPIPE, errno.ESTALE, errno.ETIMEDOUT,
    errno.ETXTBSY,
}  # fmt: skip
"""Of operating systems: addresses in use, networks and network disks away, room or handles taken for now."""

MISTAKE_WORDS = (
    # the model
    r"architectures? .*(not supported|unknown)|unsupported architecture|model type .* not recogni[sz]e",
    r"quantization.*(not supported|unsupported|unknown|invalid)|(not supported|unsupported|unknown|invalid).*quantization",
    r"(unknown|invalid|unsupported) dtype|dtype .*(not supported|unsupported)|bfloat16 is only supported",
    r"size mismatch|not initialized from checkpoint|no such file or directory|does not appear to have a file",
    # the share of a machine
    r"larger than the available kv cache memory|no available memory for the cache blocks|max_model_len .*greater than",
    r"must be divisible by tensor parallel size|is not divisible by .*tensor",
    r"world size .*larger than the (total )?number of available gpus",
    # the device
    r"no cuda gpus are available|not compiled with cuda|invalid device ordinal|no kernel image is available",
    r"driver version is insufficient|nvidia driver on your system is too old|found no nvidia driver",
)

TROUBLE_WORDS = (
    # memory that another still holds
    r"out of memory|cannot allocate memory|can't allocate memory|cudaerrormemoryallocation|memoryerror",
    r"less than desired (gpu|cpu) memory|error in memory profiling|memory used by other processes",
    # addresses and the network
    r"address (is )?already in use|eaddrinuse|cannot assign requested address|failed to bind",
    r"connection (was )?(refused|reset|aborted|closed|timed out|lost)|broken pipe|host is unreachable",
    r"timed out|timeout|deadline exceeded|temporary failure in name resolution|temporarily unavailable",
    # disks
    r"stale (nfs )?file handle|input/output error|transport endpoint is not connected",
    r"no space left on device|disk quota exceeded|text file busy|resource busy|too many open files",
    # the device
    r"devices?(\(s\))? (is|are|is/are) (busy|unavailable)|system not yet initialized|driver initialization failed",
    r"nccl error.*(unhandled system error|remote process exited)|cublas_status_(alloc_failed|not_initialized)",
    # processes of an engine's own that went without a word
    r"engine core initialization failed|workerproc initialization failed|worker.* (died|exited) unexpectedly",
    r"engine process failed to start",
    r"failed to (look up|get) actor",
)

_MISTAKE, _TROUBLE = (re.compile("|".join(words), re.IGNORECASE) for words in (MISTAKE_WORDS, TROUBLE_WORDS))


def insist(
    ask: Callable[[], T],
    *,
    tries: int = TRIES,
    passes: Callable[[Exception], bool] = lambda error: kind_of(error) == "trouble",
    pause: Callable[[float], None] = time.sleep,
) -> T:
    """What `ask` gives, for what can be asked again at no cost; where it fails of what `passes`, it is, after a while."""
    for number in range(1, tries):
        try:
            return ask()
        except Exception as error:
            if not passes(error):
                raise
        pause(PAUSE_S * 2 ** (number - 1))
    return ask()


def kind_of(error: BaseException, said: str = "") -> Kind:
    """What an error of a start is, told by it and by what it came from; `said` are words of the engine's own processes."""
    kinds = {_one(one) for one in _causes(error)} | {_words(said)}
    return "mistake" if "mistake" in kinds else "trouble" if "trouble" in kinds else "unknown"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _one(error: BaseException) -> Kind:
    if isinstance(error, MISTAKE_TYPES):
        return "mistake"
    if isinstance(error, TROUBLE_TYPES) or type(error).__name__ in TROUBLE_NAMES:
        return "trouble"
    if isinstance(error, OSError) and error.errno in TROUBLE_NUMBERS:
        return "trouble"
    return _words(str(error))


def _words(text: str) -> Kind:
    return "mistake" if _MISTAKE.search(text) else "trouble" if _TROUBLE.search(text) else "unknown"
