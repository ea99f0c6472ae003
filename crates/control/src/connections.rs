//! Connections that are open now, and which has to go when there are too many.
//!
//! Owns their number. Idle clients, slow ones and those that send garbage hold a place; when all
//! are taken the one that has not begun a request for the longest time gives way, so the newest
//! client is always answered. Streams keep theirs: they are few, and their number has a bound of
//! its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// All connections of a server.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    table: Mutex<Table>,
    /// Counts requests and accepts: the order of what happened is all that is needed of the time.
    clock: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Arc<Connection>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Connection {
    latest: AtomicU64,
    streams: AtomicBool,
    dismissed: Notify,
}

/// A place among them, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    id: u64,
    connection: Arc<Connection>,
}

impl Connections {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, table: Mutex::default(), clock: AtomicU64::new(0) })
    }

    /// A place for one more; `None` if all are taken by streams.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut table = self.lock();
        if table.open.len() >= self.most {
            let idle = table.open.iter().filter(|(_, open)| !open.streams.load(Ordering::Relaxed));
            let oldest = idle.min_by_key(|(_, open)| open.latest.load(Ordering::Relaxed));
            let oldest = oldest.map(|(id, _)| *id)?;
            // Its place is free at once; it goes as soon as it is its turn to run.
            if let Some(oldest) = table.open.remove(&oldest) {
                oldest.dismissed.notify_one();
            }
        }
        let id = table.next;
        table.next += 1;
        let connection = Arc::new(Connection {
            latest: AtomicU64::new(self.tick()),
            streams: AtomicBool::new(false),
            dismissed: Notify::new(),
        });
        table.open.insert(id, connection.clone());
        Some(Place { connections: self.clone(), id, connection })
    }

    /// Waits until none is left, at most this long.
    pub(crate) async fn empty(&self, patience: Duration) {
        let empty = async {
            while !self.lock().open.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Those that are left are cut off, which each was told.
        let _ = tokio::time::timeout(patience, empty).await;
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// A request has begun.
    pub(crate) fn begin_request(&self) {
        self.connection.latest.store(self.connections.tick(), Ordering::Relaxed);
    }

    /// Its answer goes on until somebody ends it.
    pub(crate) fn begin_stream(&self) {
        self.connection.streams.store(true, Ordering::Relaxed);
    }

    /// Waits until this place is needed by another.
    pub(crate) async fn dismissed(&self) {
        self.connection.dismissed.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_dismissed(place: &Place) -> bool {
        tokio::time::timeout(Duration::from_millis(1), place.dismissed()).await.is_ok()
    }

    #[tokio::test]
    async fn the_one_that_asked_nothing_for_longest_gives_way() {
        let connections = Connections::new(3);
        let places: Vec<_> = (0..3).map(|_| connections.enter().unwrap()).collect();
        places[0].begin_request();
        places[1].begin_stream();
        let fourth = connections.enter().unwrap();
        assert!(is_dismissed(&places[2]).await);
        for stays in [&places[0], &places[1], &fourth] {
            assert!(!is_dismissed(stays).await);
        }
        // One that goes by itself makes room without anybody's being sent away.
        drop(fourth);
        let fifth = connections.enter().unwrap();
        assert!(!is_dismissed(&places[0]).await);
        places[0].begin_stream();
        fifth.begin_stream();
        assert!(connections.enter().is_none(), "streams only");
    }
}
