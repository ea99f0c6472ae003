//! Joining the fragments of datagrams that the guest sends (RFC 791 §3.2, RFC 8200 §4.5).
//!
//! Owns a bounded table of unfinished datagrams. A datagram with overlapping fragments is dropped
//! as a whole (RFC 5722), one that is not complete in time too (RFC 8200: 60 s at most; the limit
//! is shorter). A guest that floods it loses its own oldest datagrams and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use portreeve_wire::packet::{Fragment, IPV4_HEADER_LEN, IpPacket};

use crate::drop_reason::DropReason;
use portreeve_types::{Instant, Limits};

/// Longest datagram that fragments may make: what one packet's length field can say.
fn max_datagram(v6: bool) -> usize {
    65_535 - if v6 { 0 } else { IPV4_HEADER_LEN }
}

/// More pieces than a 65,535-byte datagram has at the smallest legal MTU.
const MAX_PIECES: usize = 128;

/// What a fragment did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// Others are still missing.
    Waiting,
    /// The datagram is whole: its upper-layer bytes.
    Whole(Vec<u8>),
    /// It went no further.
    Dropped(DropReason),
}

/// All unfinished datagrams.
pub(crate) struct Reassembly {
    queues: BTreeMap<Key, Queue>,
    /// Keys in order of their first fragment, with that time; stale keys are skipped.
    oldest: VecDeque<(Instant, Key)>,
    bytes: usize,
    turned_away: TurnedAway,
    max_queues: usize,
    max_bytes: usize,
    timeout: Duration,
}

/// What the limits have turned away since this was last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TurnedAway {
    /// Datagrams that made room for newer ones.
    pub(crate) evicted: u64,
    /// Datagrams, evicted or refused, for which there were too many.
    pub(crate) by_queues: u64,
    /// Datagrams, evicted or refused, for which there were too many bytes.
    pub(crate) by_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    identification: u32,
}

struct Queue {
    started: Instant,
    bytes: Vec<u8>,
    /// Stretches received, in order and disjoint.
    pieces: Vec<(usize, usize)>,
    end: Option<usize>,
}

impl Reassembly {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            queues: BTreeMap::new(),
            oldest: VecDeque::new(),
            bytes: 0,
            turned_away: TurnedAway::default(),
            max_queues: limits.fragment_queues,
            max_bytes: limits.fragment_bytes,
            timeout: Duration::from_secs(limits.fragment_timeout_secs),
        }
    }

    /// Other limits hold from now on; the oldest beyond them are dropped.
    pub(crate) fn set_limits(&mut self, limits: &Limits) {
        self.max_queues = limits.fragment_queues;
        self.max_bytes = limits.fragment_bytes;
        self.timeout = Duration::from_secs(limits.fragment_timeout_secs);
        self.keep_queues(self.max_queues);
        self.keep_bytes(0);
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.queues.clear();
        self.oldest.clear();
        self.bytes = 0;
    }

    /// Adds one fragment, whose upper-layer bytes are `data`.
    pub(crate) fn add(
        &mut self,
        ip: &IpPacket,
        fragment: Fragment,
        data: &[u8],
        now: Instant,
    ) -> Joined {
        let key = Key {
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            identification: fragment.identification,
        };
        let start = fragment.offset as usize;
        let end = start + data.len();
        if data.is_empty()
            || end > max_datagram(ip.source.is_ipv6())
            || (fragment.more && !data.len().is_multiple_of(8))
        {
            return Joined::Dropped(DropReason::FragmentMalformed);
        }
        if data.len() > self.max_bytes || self.max_queues == 0 {
            self.turned_away.by_bytes += 1;
            return Joined::Dropped(DropReason::FragmentLimit);
        }
        if !self.queues.contains_key(&key) {
            self.keep_queues(self.max_queues - 1);
            self.oldest.push_back((now, key));
            let queue = Queue { started: now, bytes: Vec::new(), pieces: Vec::new(), end: None };
            self.queues.insert(key, queue);
        }
        let Some(queue) = self.queues.get_mut(&key) else { return Joined::Waiting };
        let before = queue.bytes.len();
        let verdict = queue.add(start, end, fragment.more, data);
        self.bytes += queue.bytes.len() - before;
        match verdict {
            Ok(false) => {
                self.keep_bytes(1);
                // Its own fragments may have been the oldest; then it is among the evicted.
                if self.bytes > self.max_bytes && self.forget(&key).is_some() {
                    self.turned_away.by_bytes += 1;
                    return Joined::Dropped(DropReason::FragmentLimit);
                }
                Joined::Waiting
            }
            Ok(true) => Joined::Whole(self.forget(&key).unwrap_or_default()),
            Err(reason) => {
                self.forget(&key);
                Joined::Dropped(reason)
            }
        }
    }

    /// Drops what has waited too long and says how many datagrams that were.
    pub(crate) fn expire(&mut self, now: Instant) -> usize {
        let mut expired = 0;
        while let Some(&(started, key)) = self.oldest.front() {
            let live = self.queues.get(&key).is_some_and(|queue| queue.started == started);
            if live && now < started + self.timeout {
                break;
            }
            self.oldest.pop_front();
            if live {
                self.forget(&key);
                expired += 1;
            }
        }
        expired
    }

    /// When [`Reassembly::expire`] next has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.oldest.front().map(|&(started, _)| started + self.timeout)
    }

    fn forget(&mut self, key: &Key) -> Option<Vec<u8>> {
        let queue = self.queues.remove(key)?;
        self.bytes -= queue.bytes.len();
        if self.queues.is_empty() {
            self.oldest.clear();
        } else if self.oldest.len() > 4 * self.max_queues {
            let queues = &self.queues;
            self.oldest.retain(|(at, key)| queues.get(key).is_some_and(|q| q.started == *at));
        }
        Some(queue.bytes)
    }

    /// What the limits have turned away since this was last asked.
    pub(crate) fn take_turned_away(&mut self) -> TurnedAway {
        std::mem::take(&mut self.turned_away)
    }

    /// Drops the oldest datagrams beyond so many.
    fn keep_queues(&mut self, most: usize) {
        while self.queues.len() > most {
            self.turned_away.by_queues += 1;
            self.drop_oldest();
        }
    }

    /// Drops the oldest datagrams, but for `least` of them, until there are no more bytes than may
    /// be.
    fn keep_bytes(&mut self, least: usize) {
        while self.bytes > self.max_bytes && self.queues.len() > least {
            self.turned_away.by_bytes += 1;
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        while let Some((started, key)) = self.oldest.pop_front() {
            if self.queues.get(&key).is_some_and(|queue| queue.started == started) {
                self.forget(&key);
                self.turned_away.evicted += 1;
                return;
            }
        }
        // Every queue has an entry, so this is not reached while one is left.
        self.queues.clear();
        self.bytes = 0;
    }
}

impl Queue {
    /// Whether the datagram is whole with this piece.
    fn add(
        &mut self,
        start: usize,
        end: usize,
        more: bool,
        data: &[u8],
    ) -> Result<bool, DropReason> {
        let beyond = self.end.is_some_and(|last| end > last || (!more && end != last));
        let short = !more && self.pieces.last().is_some_and(|&(_, last)| last > end);
        if beyond || short {
            return Err(DropReason::FragmentMalformed);
        }
        let at = self.pieces.partition_point(|&(other, _)| other < start);
        let overlaps_before = at > 0 && self.pieces[at - 1].1 > start;
        let overlaps_behind = self.pieces.get(at).is_some_and(|&(other, _)| other < end);
        if overlaps_before || overlaps_behind {
            // RFC 5722 §4 drops the datagram; an exact repetition is the one harmless overlap.
            if self.pieces.get(at) == Some(&(start, end)) && self.bytes[start..end] == *data {
                return Ok(false);
            }
            return Err(DropReason::FragmentOverlap);
        }
        if self.pieces.len() >= MAX_PIECES {
            return Err(DropReason::FragmentLimit);
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(data);
        self.pieces.insert(at, (start, end));
        if !more {
            self.end = Some(end);
        }
        let contiguous = self.pieces.windows(2).all(|pair| pair[0].1 == pair[1].0);
        Ok(contiguous && self.pieces[0].0 == 0 && self.end.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_wire::packet::Protocol;

    fn ip() -> IpPacket {
        IpPacket {
            source: [10, 0, 0, 2].into(),
            destination: [10, 0, 0, 1].into(),
            protocol: Protocol::UDP,
            hop_limit: 64,
            payload: 20..20,
            fragment: None,
            dont_fragment: false,
        }
    }

    fn piece(identification: u32, offset: u32, more: bool) -> Fragment {
        Fragment { identification, offset, more }
    }

    fn limits(fragment_queues: usize, fragment_bytes: usize) -> Limits {
        Limits { fragment_queues, fragment_bytes, ..Limits::default() }
    }

    fn table() -> Reassembly {
        Reassembly::new(&limits(4, 64 * 1024))
    }

    #[test]
    fn any_order_makes_the_whole() {
        let data: Vec<u8> = (0..40).collect();
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let mut table = table();
            let mut last = Joined::Waiting;
            for at in order {
                let range = at * 16..(at * 16 + 16).min(40);
                let fragment = piece(1, range.start as u32, range.end != 40);
                last = table.add(&ip(), fragment, &data[range], Instant::ZERO);
            }
            assert_eq!(last, Joined::Whole(data.clone()));
            assert_eq!(table.bytes, 0);
        }
    }

    #[test]
    fn overlaps_drop_the_datagram_and_repetitions_do_not() {
        let mut table = table();
        assert_eq!(table.add(&ip(), piece(1, 0, true), &[1; 16], Instant::ZERO), Joined::Waiting);
        assert_eq!(table.add(&ip(), piece(1, 0, true), &[1; 16], Instant::ZERO), Joined::Waiting);
        assert_eq!(
            table.add(&ip(), piece(1, 8, true), &[2; 16], Instant::ZERO),
            Joined::Dropped(DropReason::FragmentOverlap)
        );
        assert!(table.queues.is_empty());
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut table = table();
        for identification in 0..10_000 {
            table.add(&ip(), piece(identification, 8000, true), &[0; 1480], Instant::ZERO);
            assert!(table.queues.len() <= 4 && table.bytes <= 64 * 1024);
            assert!(table.oldest.len() <= 17);
        }
        // Each that went made room, and none went in silence.
        let turned_away = table.take_turned_away();
        assert_eq!(turned_away.evicted + table.queues.len() as u64, 10_000);
        assert_eq!(turned_away.by_queues + turned_away.by_bytes, turned_away.evicted);
        assert_eq!(table.take_turned_away(), TurnedAway::default());
    }

    #[test]
    fn lower_limits_take_the_oldest() {
        let mut table = table();
        for identification in 0..4 {
            table.add(&ip(), piece(identification, 8000, true), &[0; 1480], Instant::ZERO);
        }
        table.set_limits(&limits(3, 64 * 1024));
        let first = TurnedAway { evicted: 1, by_queues: 1, by_bytes: 0 };
        assert_eq!((table.queues.len(), table.take_turned_away()), (3, first));
        table.set_limits(&limits(3, 2 * 9480));
        let second = TurnedAway { evicted: 1, by_queues: 0, by_bytes: 1 };
        assert_eq!((table.queues.len(), table.take_turned_away()), (2, second));
        assert_eq!(table.bytes, 2 * 9480);
        table.set_limits(&limits(9, 64 * 1024));
        assert_eq!((table.queues.len(), table.take_turned_away()), (2, TurnedAway::default()));
    }

    #[test]
    fn what_is_late_is_forgotten() {
        let mut table = table();
        table.add(&ip(), piece(1, 0, true), &[0; 8], Instant::ZERO);
        let due = table.poll_timeout().unwrap();
        assert_eq!(table.expire(Instant::from_micros(due.as_micros() - 1)), 0);
        assert_eq!(table.expire(due), 1);
        assert_eq!(table.poll_timeout(), None);
    }

    #[test]
    fn impossible_pieces_are_refused() {
        let refused = Joined::Dropped(DropReason::FragmentMalformed);
        assert_eq!(table().add(&ip(), piece(1, 0, true), &[0; 7], Instant::ZERO), refused);
        assert_eq!(table().add(&ip(), piece(1, 65_528, false), &[0; 9], Instant::ZERO), refused);
        assert_eq!(table().add(&ip(), piece(1, 0, true), &[], Instant::ZERO), refused);
        let mut table = table();
        table.add(&ip(), piece(1, 16, false), &[0; 8], Instant::ZERO);
        assert_eq!(table.add(&ip(), piece(1, 24, true), &[0; 8], Instant::ZERO), refused);
    }
}
