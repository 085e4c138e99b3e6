"""Several processes that make each run together agree after it whether it failed: then it is a gap for all.

What they tell each other goes through the store by which they found each other, as the one that failed is at
another place than those that wait for it in a sum of gradients. Those come to an end by their time-out
(`SECATEUR_RANK_TIMEOUT`), and learn then that the other is there.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from torch import distributed

from secateur.device import Runtime, lost_another, patience
from secateur.errors import InputError, TrainingError
from secateur.runs.executors.failures import message_of

LOOK_EVERY_S = 0.1
GRACE_S = 2.0
"""Who failed says so at once; who says nothing for so long behind a broken connection is gone."""
SLACK_S = 60.0
_FINE, _FAILED, _REFUSED = "+", "-", "?"


class Ranks:
    """The processes, as one of them sees them.

    Args:
        runtime: of this process, one of several.
    """

    def __init__(self, runtime: Runtime):
        self.runtime = runtime
        self._store = distributed.distributed_c10d._get_default_store()
        self._runs = 0

    def agree(self, error: BaseException | None) -> BaseException | None:
        """Say how this process's part of a run ended, hear the others, and give what all take it for.

        Args:
            error: why this process's part failed; None where it did not.

        Returns:
            None where it failed in none; else the same error in all.

        Raises:
            TrainingError: where another is gone.
        """
        self._runs += 1
        lost = lost_another(error) if error is not None else None
        if lost is not None and not self._wait(self._any_failed, GRACE_S):
            raise TrainingError(lost) from error
        self._store.set(self._key(self.runtime.rank), _FINE if error is None or lost else _packed(error))
        if error is not None:
            error.with_traceback(None)  # its frames hold the network, and what connects it to the others
        whole = 2 * patience().total_seconds() + SLACK_S
        if not self._wait(lambda: self._has(range(self.runtime.world)), whole):
            raise TrainingError("another process did not say how it ended; the same command continues")
        said = [self._said(rank) for rank in range(self.runtime.world)]
        told = next((each for each in said if each != _FINE), None)
        if told is None:
            return None
        self._connect_anew()
        kind = InputError if told.startswith(_REFUSED) else TrainingError
        return kind(told[1:])

    def _key(self, rank: int) -> str:
        return f"secateur/{self._runs}/{rank}"

    def _said(self, rank: int) -> str:
        return self._store.get(self._key(rank)).decode(errors="replace")

    def _has(self, ranks: range) -> bool:
        return bool(self._store.check([self._key(rank) for rank in ranks]))

    def _any_failed(self) -> bool:
        return any(
            self._has(range(rank, rank + 1)) and self._said(rank) != _FINE
            for rank in range(self.runtime.world)
        )

    @staticmethod
    def _wait(there: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is there; by looking again and again, so that a signal is heard."""
        end = time.monotonic() + seconds
        while not there():
            if time.monotonic() > end:
                return False
            time.sleep(LOOK_EVERY_S)
        return True

    def _connect_anew(self) -> None:
        """Have gloo forget what was left half done. NCCL ends the process itself where something was."""
        if distributed.get_backend() != "gloo":
            return
        self.runtime.accelerator.free_memory()
        gc.collect()
        distributed.destroy_process_group()
        distributed.init_process_group(
            "gloo",
            store=distributed.PrefixStore(f"secateur/again/{self._runs}", self._store),
            rank=self.runtime.rank,
            world_size=self.runtime.world,
            timeout=patience(),
        )


def _packed(error: BaseException) -> str:
    kind = _REFUSED if isinstance(error, InputError) else _FAILED
    return kind + message_of(error).encode(errors="replace").decode()
