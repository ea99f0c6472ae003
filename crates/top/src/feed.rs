//! The thread that asks the engine, round after round, and carries out orders.
//!
//! Owns the source and the clock of the rounds. Never draws, and knows nothing of what is shown: a
//! hanging engine holds up this thread and not the keys.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use portreeve_types::api::{EventBody, EventRecord, FlowInfo, Health};

use crate::model::{Order, Snapshot};
use crate::source::{Connections, Source, SourceError};

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
        loop {
            let began = Instant::now();
            if news.send(self.round(paused).unwrap_or_else(News::Gone)).is_err() {
                return;
            }
            // A slow engine is not asked without a break.
            let next = (began + period).max(Instant::now() + SHORTEST_BREAK);
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
                Order::Kill(id) => {
                    let outcome = self.source.kill(&id).map(|()| format!("killed flow {id}"));
                    self.tell(news, outcome)?;
                    next = Instant::now();
                }
                Order::Unpublish(id, connections) => {
                    let how = match connections {
                        Connections::Drain => "its connections go on",
                        Connections::Reset => "its connections were reset",
                    };
                    let outcome = self.source.unpublish(id, connections);
                    self.tell(news, outcome.map(|()| format!("unpublished port {id}: {how}")))?;
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
        let snapshot =
            Snapshot { at, wall, health, stats, ports, flows, flows_total, dns, events };
        Ok(News::Round(Box::new(snapshot)))
    }

    /// The first flows, page by page.
    fn flows(&self) -> Result<(Vec<FlowInfo>, u64), SourceError> {
        let mut flows = Vec::new();
        let mut after = None;
        // An engine without flows has pages too: its table has places that are empty. As many
        // pages are turned as full ones would be needed, and some for those.
        for _ in 0..self.max_flows.div_ceil(PAGE) * 2 {
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
        let is_new = known.is_none_or(|known| {
            known.started != health.started || known.pid != health.pid
        });
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

/// The least time between the end of a round and the next.
const SHORTEST_BREAK: Duration = Duration::from_millis(50);
