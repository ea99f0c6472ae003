//! The thread that asks the engine, round after round, and carries out orders.
//!
//! Owns the source and the clock of the rounds. Never draws, and knows nothing of what is shown: a
//! hanging engine holds up this thread and not the keys.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use portreeve_client::Connections;
use portreeve_types::api::{EventBody, EventRecord, FlowInfo, Health};

use crate::model::{Order, Snapshot};
use crate::source::{Source, SourceError};

/// What the thread has to say.
#[derive(Debug)]
pub(crate) enum News {
    /// A round has brought this.
    Round(Box<Snapshot>),
    /// The engine is there; it was asked nothing else.
    Alive,
    /// The engine does not answer.
    Gone(String),
    /// An order was carried out, or was not.
    Outcome(Result<String, String>),
}

/// The other end of the thread. Dropped, it ends the thread once the question under way has its
/// answer.
#[derive(Debug)]
pub(crate) struct Feed {
    orders: Sender<Order>,
    news: Receiver<News>,
}

/// The thread is gone; it never goes by itself, so it has panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

impl Feed {
    /// Starts asking, every `period`, for at most `max_flows` flows a round.
    pub(crate) fn start(
        source: Box<dyn Source>,
        period: Duration,
        max_flows: usize,
    ) -> std::io::Result<Self> {
        let (orders, their_orders) = mpsc::channel();
        // A round that nobody has looked at is one too many already.
        let (their_news, news) = mpsc::sync_channel(1);
        let mut asker = Asker { source, max_flows, engine: None, since: 0 };
        thread::Builder::new()
            .name("top feed".to_owned())
            .spawn(move || asker.run(&their_orders, &their_news, period))?;
        Ok(Self { orders, news })
    }

    /// Passes an order on.
    pub(crate) fn order(&self, order: Order) -> Result<(), Panicked> {
        self.orders.send(order).map_err(|_| Panicked)
    }

    /// What the thread has said since, if anything.
    pub(crate) fn news(&self) -> Result<Option<News>, Panicked> {
        match self.news.try_recv() {
            Ok(news) => Ok(Some(news)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Panicked),
        }
    }
}

struct Asker {
    source: Box<dyn Source>,
    max_flows: usize,
    /// The engine that answered last.
    engine: Option<Health>,
    /// The last event that was read.
    since: u64,
}

/// Nobody listens any more.
struct Left;

impl Asker {
    fn run(&mut self, orders: &Receiver<Order>, news: &SyncSender<News>, mut period: Duration) {
        let mut paused = false;
        // Rates need two rounds: nobody wants to wait a minute for the second.
        let mut first = true;
        loop {
            let began = Instant::now();
            if news.send(self.round(paused).unwrap_or_else(News::Gone)).is_err() {
                return;
            }
            // A slow engine is not asked without a break.
            let wait = if first { period.min(SECOND_ROUND) } else { period };
            first = false;
            let next = (began + wait).max(Instant::now() + SHORTEST_BREAK);
            if self.serve(orders, news, next, &mut period, &mut paused).is_err() {
                return;
            }
        }
    }

    /// Carries out orders until the next round is due.
    fn serve(
        &self,
        orders: &Receiver<Order>,
        news: &SyncSender<News>,
        mut next: Instant,
        period: &mut Duration,
        paused: &mut bool,
    ) -> Result<(), Left> {
        loop {
            let order = match orders.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(order) => order,
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => return Err(Left),
            };
            match order {
                Order::Kill { id, what } => {
                    let outcome = self.source.kill(&id).map(|()| format!("killed {what}"));
                    self.tell(news, outcome)?;
                    next = Instant::now();
                }
                Order::Unpublish { id, what, connections } => {
                    let how = match connections {
                        Connections::Drain => "its connections go on",
                        Connections::Reset => "its connections were reset",
                    };
                    let outcome = self.source.unpublish(id, connections);
                    self.tell(news, outcome.map(|()| format!("unpublished {what}: {how}")))?;
                    next = Instant::now();
                }
                Order::Period(chosen) => {
                    *period = chosen;
                    next = next.min(Instant::now() + chosen);
                }
                Order::Pause(pause) => {
                    *paused = pause;
                    if !pause {
                        next = Instant::now();
                    }
                }
                Order::Suspend | Order::Quit => {}
            }
        }
    }

    fn tell(
        &self,
        news: &SyncSender<News>,
        outcome: Result<String, SourceError>,
    ) -> Result<(), Left> {
        let outcome = outcome.map_err(|error| error.to_string());
        news.send(News::Outcome(outcome)).map_err(|_| Left)
    }

    /// All questions once; only whether the engine is there while the picture stands still.
    fn round(&mut self, paused: bool) -> Result<News, String> {
        let told = |error: SourceError| error.to_string();
        let health = self.source.health().map_err(told)?;
        if paused {
            return Ok(News::Alive);
        }
        let ports = self.source.ports().map_err(told)?;
        let at = Instant::now();
        let (flows, flows_total) = self.flows().map_err(told)?;
        let wall = SystemTime::now();
        let stats = self.source.stats().map_err(told)?;
        let dns = self.source.dns().map_err(told)?;
        let events = self.events(&health).map_err(told)?;
        let snapshot = Snapshot { at, wall, health, stats, ports, flows, flows_total, dns, events };
        Ok(News::Round(Box::new(snapshot)))
    }

    /// The first flows, page by page.
    fn flows(&self) -> Result<(Vec<FlowInfo>, u64), SourceError> {
        let mut flows = Vec::new();
        let mut after = None;
        // A page covers places of the engine's table, and those may be empty: few flows may be
        // many pages away.
        for _ in 0..MAX_PAGES {
            let page = self.source.flows(after, PAGE)?;
            flows.extend(page.flows);
            after = page.next;
            if after.is_none() || flows.len() >= self.max_flows {
                flows.truncate(self.max_flows);
                return Ok((flows, page.total));
            }
        }
        let total = self.source.flows(after, 1)?.total;
        Ok((flows, total))
    }

    /// Events since the round before; of a new engine, those that it has kept.
    fn events(&mut self, health: &Health) -> Result<Vec<EventRecord>, SourceError> {
        let known = self.engine.as_ref();
        let is_new =
            known.is_none_or(|known| known.started != health.started || known.pid != health.pid);
        if is_new {
            self.since = 0;
            self.engine = Some(health.clone());
        }
        let mut events = self.source.events(self.since)?;
        if let Some(last) = events.last() {
            self.since = last.seq;
        }
        // That an engine does not keep all that ever happened is no news.
        if is_new && matches!(events.first(), Some(event) if is_lost(event)) {
            events.remove(0);
        }
        Ok(events)
    }
}

const fn is_lost(event: &EventRecord) -> bool {
    matches!(event.body, EventBody::Lost { .. })
}

/// Flows of one page: the most that the engine gives.
const PAGE: usize = 1_000;

/// Pages that are turned at most in one round.
const MAX_PAGES: usize = 128;

/// The least time between the end of a round and the next.
const SHORTEST_BREAK: Duration = Duration::from_millis(50);

/// The time until the second round, at most.
const SECOND_ROUND: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned;
    use portreeve_types::PublishId;
    use portreeve_types::api;
    use portreeve_types::api::Timestamp;
    use std::sync::{Arc, Mutex};

    /// An engine in which tests can turn knobs.
    #[derive(Clone, Default)]
    struct Knobs(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        flows: usize,
        restarts: u64,
        gone: bool,
        events: Vec<EventRecord>,
        killed: Vec<String>,
        asked_since: Vec<u64>,
        panic: bool,
    }

    impl Knobs {
        fn turn(&self, turn: impl FnOnce(&mut State)) {
            turn(&mut self.0.lock().unwrap());
        }

        fn get<T>(&self, get: impl FnOnce(&State) -> T) -> T {
            get(&self.0.lock().unwrap())
        }

        fn start(&self, period: Duration, max_flows: usize) -> Feed {
            Feed::start(Box::new(self.clone()), period, max_flows).unwrap()
        }
    }

    impl Source for Knobs {
        fn health(&self) -> Result<Health, SourceError> {
            if self.get(|state| state.gone) {
                return Err(SourceError::Gone("connection refused".to_owned()));
            }
            let mut health = canned::health();
            let restarts = self.get(|state| state.restarts);
            health.started = Timestamp(canned::started() + Duration::from_secs(restarts));
            Ok(health)
        }

        fn stats(&self) -> Result<api::Stats, SourceError> {
            assert!(!self.get(|state| state.panic), "asked to");
            Ok(canned::stats(1))
        }

        fn ports(&self) -> Result<Vec<api::PortStatus>, SourceError> {
            Ok(Vec::new())
        }

        /// A table in which every other place is empty.
        fn flows(&self, after: Option<u64>, limit: usize) -> Result<api::FlowList, SourceError> {
            let total = self.get(|state| state.flows);
            let first = after.unwrap_or(0) as usize;
            let end = (first + limit).min(total * 2);
            let flows = (first..end)
                .filter(|slot| slot % 2 == 0)
                .map(|slot| canned::outbound(&format!("{slot}.1"), "192.0.2.1:80", None))
                .collect();
            let next = (end < total * 2).then_some(end as u64);
            Ok(api::FlowList { flows, next, total: total as u64 })
        }

        fn dns(&self) -> Result<Option<api::DnsStatus>, SourceError> {
            Ok(None)
        }

        fn events(&self, since: u64) -> Result<Vec<EventRecord>, SourceError> {
            self.turn(|state| state.asked_since.push(since));
            let behind = |event: &&EventRecord| event.seq > since;
            Ok(self.get(|state| state.events.iter().filter(behind).cloned().collect()))
        }

        fn kill(&self, flow: &str) -> Result<(), SourceError> {
            self.turn(|state| state.killed.push(flow.to_owned()));
            match flow {
                "0.0" => Err(SourceError::Refused("no such flow".to_owned())),
                _ => Ok(()),
            }
        }

        fn unpublish(&self, _: PublishId, _: Connections) -> Result<(), SourceError> {
            Ok(())
        }
    }

    fn next(feed: &Feed) -> News {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match feed.news().expect("the thread lives") {
                Some(news) => return news,
                None => assert!(Instant::now() < deadline, "no news"),
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn next_round(feed: &Feed) -> Snapshot {
        match next(feed) {
            News::Round(snapshot) => *snapshot,
            other => panic!("{other:?} and not a round"),
        }
    }

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn flows_are_asked_for_page_by_page_up_to_a_bound() {
        let knobs = Knobs::default();
        for (flows, known) in [(0, 0), (3, 3), (1_700, 1_700), (2_000, 2_000), (9_000, 2_000)] {
            knobs.turn(|state| state.flows = flows);
            let snapshot = next_round(&knobs.start(LONG, 2_000));
            assert_eq!((snapshot.flows.len(), snapshot.flows_total), (known, flows as u64));
        }
    }

    #[test]
    fn events_go_on_behind_the_last_one_and_begin_anew_with_a_new_engine() {
        let knobs = Knobs::default();
        let lost = canned::event(4, 0, EventBody::Lost { count: 4 });
        let event = |seq| canned::event(seq, seq, EventBody::LinkUp);
        knobs.turn(|state| state.events = vec![lost.clone(), event(5), event(6)]);
        let feed = knobs.start(SHORT, 10);
        let seqs = |snapshot: Snapshot| -> Vec<u64> {
            snapshot.events.iter().map(|event| event.seq).collect()
        };
        assert_eq!(seqs(next_round(&feed)), [5, 6], "what was lost before is no news");
        knobs.turn(|state| state.events.push(event(7)));
        let later =
            (0..9).find_map(|_| Some(seqs(next_round(&feed))).filter(|seqs| !seqs.is_empty()));
        assert_eq!(later, Some(vec![7]));
        assert_eq!(knobs.get(|state| state.asked_since[1]), 6);

        knobs.turn(|state| {
            state.restarts = 1;
            state.events = vec![event(1)];
        });
        let later =
            (0..9).find_map(|_| Some(seqs(next_round(&feed))).filter(|seqs| !seqs.is_empty()));
        assert_eq!(later, Some(vec![1]));
    }

    #[test]
    fn an_order_is_carried_out_at_once_and_seen_in_the_next_round() {
        let knobs = Knobs::default();
        let feed = knobs.start(LONG, 10);
        next_round(&feed);
        next_round(&feed);
        for (id, outcome) in [("3.1", Ok("killed tcp a > b")), ("0.0", Err("no such flow"))] {
            feed.order(Order::Kill { id: id.to_owned(), what: "tcp a > b".to_owned() }).unwrap();
            let outcome = outcome.map(str::to_owned).map_err(str::to_owned);
            assert!(matches!(next(&feed), News::Outcome(said) if said == outcome));
            next_round(&feed);
        }
        assert_eq!(knobs.get(|state| state.killed.clone()), ["3.1", "0.0"]);
    }

    #[test]
    fn while_the_picture_stands_still_only_life_is_asked_for() {
        let knobs = Knobs::default();
        let feed = knobs.start(LONG, 10);
        next_round(&feed);
        next_round(&feed);
        feed.order(Order::Pause(true)).unwrap();
        feed.order(Order::Period(SHORT)).unwrap();
        assert!(matches!(next(&feed), News::Alive));
        knobs.turn(|state| state.gone = true);
        while !matches!(next(&feed), News::Gone(_)) {}
        knobs.turn(|state| state.gone = false);
        feed.order(Order::Pause(false)).unwrap();
        while !matches!(next(&feed), News::Round(_)) {}
    }

    #[test]
    fn a_panic_of_the_thread_is_told() {
        let knobs = Knobs::default();
        knobs.turn(|state| state.panic = true);
        let feed = knobs.start(SHORT, 10);
        let deadline = Instant::now() + Duration::from_secs(20);
        while feed.news().is_ok() {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(1));
        }
    }
}
