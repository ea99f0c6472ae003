//! The log of an engine's events: numbered, bounded, read from anywhere.
//!
//! Owns the numbers and the backlog. There is one log for all readers, each with a place of its
//! own in it; a reader that falls behind the oldest event kept is told how many it missed, and the
//! engine never waits for one. While nobody reads and nobody asked for a backlog, events cost
//! nothing and are not numbered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use super::{Event, EventRecord};
use crate::outlet::Outlet;

/// Records a reader copies at once, so that it holds the log for some microseconds at most.
const BATCH: usize = 256;

/// The engine's end of the log.
pub(crate) struct EventLog {
    shared: Arc<Shared>,
    /// Numbered, and not yet where readers see them.
    staged: VecDeque<EventRecord>,
    /// The number of the last event.
    last: u64,
}

/// The readers' end: gives out places in the log.
#[derive(Clone, Debug)]
pub(crate) struct EventSource(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    backlog: Outlet<Backlog>,
    /// Somebody reads, or wants the backlog kept.
    wanted: AtomicBool,
    /// Events that readers missed.
    missed: AtomicU64,
}

#[derive(Debug)]
struct Backlog {
    /// By rising number, with gaps where the engine had to let go.
    records: VecDeque<EventRecord>,
    capacity: usize,
    /// The number of the last event that was ever here.
    last: u64,
    readers: usize,
    keep: bool,
}

impl EventLog {
    pub(crate) fn new(capacity: usize) -> Self {
        let backlog =
            Backlog { records: VecDeque::new(), capacity, last: 0, readers: 0, keep: false };
        let shared = Shared {
            backlog: Outlet::new(backlog),
            wanted: AtomicBool::new(false),
            missed: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), staged: VecDeque::new(), last: 0 }
    }

    pub(crate) fn source(&self) -> EventSource {
        EventSource(self.shared.clone())
    }

    /// Whether anybody wants events.
    pub(crate) fn is_wanted(&self) -> bool {
        self.shared.wanted.load(Ordering::Acquire)
    }

    /// Adds an event, if anybody wants it.
    pub(crate) fn push(&mut self, event: Event, capacity: usize) {
        if !self.is_wanted() {
            return;
        }
        if self.staged.len() >= capacity {
            self.staged.pop_front();
        }
        self.last += 1;
        self.staged.push_back(EventRecord { seq: self.last, time: SystemTime::now(), event });
    }

    /// Whether events wait to be seen.
    pub(crate) fn is_behind(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Lets readers see what there is, unless one of them is copying just now.
    pub(crate) fn flush(&mut self) {
        if !self.staged.is_empty() {
            let staged = &mut self.staged;
            self.shared.backlog.try_update(|backlog| backlog.take_over(staged));
        }
    }

    /// Keeps so many events from now on.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.shared.backlog.with(|backlog| backlog.capacity = capacity);
    }

    /// Events that readers missed so far.
    pub(crate) fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        let staged = &mut self.staged;
        self.shared.backlog.close(|backlog| backlog.take_over(staged));
    }
}

impl Backlog {
    fn take_over(&mut self, staged: &mut VecDeque<EventRecord>) {
        if let Some(last) = staged.back() {
            self.last = last.seq;
        }
        self.records.append(staged);
        let surplus = self.records.len().saturating_sub(self.capacity);
        self.records.drain(..surplus);
    }
}

impl EventSource {
    /// A place in the log: behind the event with this number, or behind the last.
    pub(crate) fn events(&self, since: Option<u64>) -> Events {
        let next = self.0.backlog.with(|backlog| {
            backlog.readers += 1;
            self.0.wanted.store(true, Ordering::Release);
            match since {
                // A number that has not been given yet is one of an engine before this one.
                Some(seq) if seq <= backlog.last => seq + 1,
                Some(_) => backlog.records.front().map_or(backlog.last + 1, |record| record.seq),
                None => backlog.last + 1,
            }
        });
        Events { shared: self.0.clone(), next, batch: VecDeque::new() }
    }

    /// Keeps the backlog from now on, whether anybody reads or not.
    pub(crate) fn keep(&self) {
        self.0.backlog.with(|backlog| {
            backlog.keep = true;
            self.0.wanted.store(true, Ordering::Release);
        });
    }
}

/// Events of one engine, in order, from one place in its log on.
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
    /// The number of the next one to read.
    next: u64,
    /// Copied, and not yet given.
    batch: VecDeque<EventRecord>,
}

impl Events {
    /// The next event; `None` when there is none within `timeout` or the engine has stopped.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<EventRecord> {
        self.take(Some(timeout))
    }

    /// The next event for a task, which is woken when there is one; `None` once the engine has
    /// stopped.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<EventRecord>> {
        if self.batch.is_empty() {
            let Self { shared, next, batch } = self;
            match shared.backlog.poll(context, |backlog| copy(backlog, next, batch, shared)) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(self.batch.pop_front())
    }

    fn take(&mut self, timeout: Option<Duration>) -> Option<EventRecord> {
        if self.batch.is_empty() {
            let Self { shared, next, batch } = self;
            shared.backlog.wait(timeout, |backlog| copy(backlog, next, batch, shared))?;
        }
        self.batch.pop_front()
    }
}

impl Iterator for Events {
    type Item = EventRecord;

    /// Waits for the next event; `None` once the engine has stopped.
    fn next(&mut self) -> Option<EventRecord> {
        self.take(None)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.backlog.with(|backlog| {
            backlog.readers -= 1;
            if backlog.readers == 0 && !backlog.keep {
                self.shared.wanted.store(false, Ordering::Release);
                backlog.records = VecDeque::new();
            }
        });
    }
}

/// Copies what follows `next`; `None` when nothing does.
fn copy(
    backlog: &Backlog,
    next: &mut u64,
    batch: &mut VecDeque<EventRecord>,
    shared: &Shared,
) -> Option<()> {
    let at = backlog.records.partition_point(|record| record.seq < *next);
    for record in backlog.records.range(at..).take(BATCH) {
        if record.seq > *next {
            let count = record.seq - *next;
            shared.missed.fetch_add(count, Ordering::Relaxed);
            let event = Event::Lost { count };
            batch.push_back(EventRecord { seq: record.seq - 1, time: record.time, event });
        }
        batch.push_back(record.clone());
        *next = record.seq + 1;
    }
    (!batch.is_empty()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_types::PublishId;

    const SOON: Duration = Duration::from_millis(1);
    const CAPACITY: usize = 4;

    fn event(id: u32) -> Event {
        Event::ListenerResumed { port: PublishId(id) }
    }

    fn push(log: &mut EventLog, ids: impl IntoIterator<Item = u32>) {
        for id in ids {
            log.push(event(id), CAPACITY);
            log.flush();
        }
    }

    fn read(events: &mut Events) -> Vec<(u64, Event)> {
        let next = || events.next_timeout(SOON).map(|record| (record.seq, record.event));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_slow_reader_is_told_what_it_missed_and_goes_on() {
        let mut log = EventLog::new(CAPACITY);
        push(&mut log, [90]);
        let mut events = log.source().events(None);
        push(&mut log, 0..7);
        let expected =
            vec![(3, Event::Lost { count: 3 }), (4, event(3)), (5, event(4)), (6, event(5))];
        assert_eq!(read(&mut events)[..4], expected);
        push(&mut log, [8]);
        assert_eq!(read(&mut events), [(8, event(8))]);
        assert_eq!(log.missed(), 3);
        drop(log);
        assert_eq!(events.next(), None, "the engine has stopped");
    }

    #[test]
    fn a_reader_resumes_where_it_was() {
        let mut log = EventLog::new(CAPACITY);
        let source = log.source();
        source.keep();
        push(&mut log, 0..3);
        assert_eq!(read(&mut source.events(Some(1))), [(2, event(1)), (3, event(2))]);
        assert_eq!(read(&mut source.events(Some(0))).len(), 3);
        assert_eq!(read(&mut source.events(None)), []);
        // A number of an engine before this one: everything that is kept.
        assert_eq!(read(&mut source.events(Some(999))).len(), 3);
        push(&mut log, 3..9);
        let missed = read(&mut source.events(Some(1)));
        assert_eq!(missed[0], (5, Event::Lost { count: 4 }));
        assert_eq!(missed.len(), 1 + CAPACITY);
    }

    #[test]
    fn nobody_reads_and_nothing_is_kept() {
        let mut log = EventLog::new(CAPACITY);
        push(&mut log, 0..3);
        assert!(!log.is_wanted() && !log.is_behind());
        let first = log.source().events(None);
        let second = log.source().events(None);
        assert!(log.is_wanted());
        drop(first);
        assert!(log.is_wanted());
        push(&mut log, 0..3);
        drop(second);
        assert!(!log.is_wanted());
        assert_eq!(log.source().events(Some(0)).next_timeout(SOON), None);
    }

    #[test]
    fn the_engine_does_not_wait_for_a_reader_that_copies() {
        let mut log = EventLog::new(CAPACITY);
        let mut events = log.source().events(None);
        let shared = log.shared.clone();
        shared.backlog.with(|_| {
            for id in 0..6 {
                log.push(event(id), CAPACITY);
                log.flush();
            }
            assert!(log.is_behind());
        });
        log.flush();
        assert!(!log.is_behind());
        assert_eq!(read(&mut events)[0], (2, Event::Lost { count: 2 }));
    }
}
