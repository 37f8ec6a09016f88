"""One stream as the batcher sees it: a mailbox of samples in front, scorer and ledger behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from monitor.core.domain import DomainWatch, Foreign
from monitor.core.scorer import ScoringSpec, StreamScorer
from monitor.core.stream_head import StreamHead
from monitor.ingest.mailbox import Mailbox, MailboxClosed
from monitor.pipeline.ledger import TickLedger
from monitor.types import F64, DropCause, PooledQuality, Sample, ScoreView, StreamId

#: Readings of two counts until they belong together.
_TRIES = 100
_NO_PIXELS = np.empty((0, 0, 0), np.uint8)


class ScoredStream:
    """Accounts for every tick of a stream and turns head outputs into scores.

    Threads: ``emit`` and ``dropped_before`` are the decode thread's; all else is the event loop's.

    Args:
        stream: Its id.
        scoring: From the bundle.
        make_mailbox: Builds the mailbox around this object's ``on_drop`` callback.
        on_pooled: Takes (epoch, pooled quality) as soon as it is final.
        on_scored: Takes each sample that got a frame quality, in order.
        domain_limit: Of the model's domain, where it says what pictures it knows.
        lower: As ``scoring``, for samples of lower rates, by rung from 1.
    """

    def __init__(
        self,
        stream: StreamId,
        scoring: ScoringSpec,
        make_mailbox: Callable[[Callable[[Sample, DropCause], None]], Mailbox[Sample]],
        on_pooled: Callable[[int, PooledQuality], None] | None = None,
        on_scored: Callable[[Sample], None] | None = None,
        domain_limit: float | None = None,
        lower: Sequence[ScoringSpec] = (),
    ) -> None:
        self.stream = stream
        self.ledger = TickLedger()
        self._rungs = (scoring, *lower)
        self._on_pooled = on_pooled
        self._on_scored = on_scored
        self.mailbox = make_mailbox(lambda _, cause: self.ledger.dropped(1, cause))
        self._domain_limit = domain_limit
        self._domain = DomainWatch(scoring.fps, domain_limit)
        self._scorer: StreamScorer | None = None
        self._epoch = self._grid = 0
        self._in_hand = 0
        #: Newest sample that reached the head, without its pixels.
        self.newest: Sample | None = None
        self.cause_sum = np.zeros(0)
        self.cause_count = 0

    # --- decode thread ---

    def emit(self, sample: Sample) -> None:
        """Hands a sample over; its tick is due from here.

        Raises:
            MailboxClosed: The stream was closed; the tick counts as dropped at shutdown.
        """
        self.ledger.due()
        try:
            self.mailbox.put(sample)
        except MailboxClosed:
            self.ledger.dropped(1, DropCause.SHUTDOWN)
            raise

    def dropped_before(self, count: int, cause: DropCause) -> None:
        """Ticks that fell due and never became a sample."""
        self.ledger.due(count)
        self.ledger.dropped(count, cause)

    # --- event loop ---

    def take(self, max_n: int) -> list[Sample]:
        """See ``SampleStream.take``."""
        samples = self.mailbox.take(max_n)
        self._in_hand += len(samples)
        return samples

    def head_for(self, sample: Sample) -> StreamHead:
        """Recurrent state of the sample's grid; a new epoch ends the one before, another rate goes on with it."""
        if self._scorer is None or (sample.epoch, sample.grid) != (self._epoch, self._grid):
            self.end_epoch()
            spec = self._rungs[sample.rung]
            same = self._scorer is not None and sample.epoch == self._epoch
            self._scorer = self._scorer.at_rate(spec) if same and self._scorer is not None else StreamScorer(spec)
            self._epoch, self._grid = sample.epoch, sample.grid
            if same:
                self._domain = DomainWatch(spec.fps, self._domain_limit)
        return self._scorer.head

    @property
    def foreign(self) -> Foreign | None:
        """Why the model does not know such pictures; None where it does."""
        return self._domain.foreign

    def scored(self, sample: Sample, q: float, causes: F64, distance: float | None) -> None:
        """See ``SampleStream.scored``."""
        assert self._scorer is not None
        self._in_hand -= 1
        self.ledger.scored()
        self.newest = replace(sample, pixels=_NO_PIXELS)
        if causes.size:
            self.cause_sum = causes if not self.cause_count else self.cause_sum + causes
            self.cause_count += 1
        self._domain.push(distance, sample.facts)
        if self._on_scored is not None:
            self._on_scored(sample)
        self._tell(self._scorer.push(sample.tick, sample.received_s, q, causes))

    def lost(self, samples: Iterable[Sample], cause: DropCause) -> None:
        """See ``SampleStream.lost``."""
        count = len(list(samples))
        self._in_hand -= count
        self.ledger.dropped(count, cause)

    def end_epoch(self) -> None:
        """Lets the last qualities out over a shrinking look-ahead; scores of the epoch stay readable. Idempotent."""
        if self._scorer is not None:
            self._tell(self._scorer.flush())

    @property
    def newest_received_s(self) -> float | None:
        """As ``view`` says it, without the work of a view."""
        return None if self._scorer is None else self._scorer.newest_received_s

    def view(self) -> ScoreView:
        """Rolling scores of the present epoch."""
        return ScoreView() if self._scorer is None else self._scorer.view()

    def unaccounted(self) -> int:
        """Ticks in flight by the ledger that are neither waiting nor in the engine.

        0, or 1 while the decode thread is between counting a tick and handing it over. Anything else is a defect.
        """
        # The decode thread goes on meanwhile: the two counts belong together where it did nothing in between.
        for _ in range(_TRIES):
            before = self.ledger.balance()
            waiting = self.mailbox.depth + self._in_hand
            if self.ledger.balance() == before:
                break
        return before.in_flight - waiting

    def _tell(self, pooled: list[PooledQuality]) -> None:
        if self._on_pooled is not None:
            for quality in pooled:
                self._on_pooled(self._epoch, quality)
