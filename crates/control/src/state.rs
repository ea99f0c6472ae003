//! What every request is answered from: the engine's handle, and what bounds the answers.
//!
//! Owns the passage from the server's one thread to the library, whose calls wait for the engine:
//! they run on a few threads of their own, and nobody waits longer than [`ANSWER_TIME`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portreeve::Handle;
use portreeve_types::api::{Problem, ProblemType, ReloadReport};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::Fault;

/// What a program has to say of its configuration.
pub trait ConfigProvider: Send + Sync + 'static {
    /// The configuration as it was resolved, for `GET /v1/config`.
    fn resolved(&self) -> serde_json::Value;

    /// Reads the configuration file again and puts in force what can be, for `POST /v1/reload`.
    /// Called from any thread, one call at a time.
    ///
    /// # Errors
    /// [`ProblemType::Unavailable`] where there is no file, and
    /// [`ProblemType::InvalidConfiguration`] when it cannot be used; nothing has changed then.
    fn reload(&self) -> Result<ReloadReport, Problem>;
}

/// Everything a request may need. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

struct Inner {
    engine: Handle,
    name: String,
    mode: String,
    config: Option<Arc<dyn ConfigProvider>>,
    events: Arc<Semaphore>,
    captures: Arc<Semaphore>,
    /// Changes that read first and write then take turns.
    changes: Mutex<()>,
}

impl Api {
    pub(crate) fn new(
        engine: Handle,
        name: String,
        mode: String,
        config: Option<Arc<dyn ConfigProvider>>,
    ) -> Self {
        Self(Arc::new(Inner {
            engine,
            name,
            mode,
            config,
            events: Arc::new(Semaphore::new(MAX_EVENT_STREAMS)),
            captures: Arc::new(Semaphore::new(MAX_CAPTURE_STREAMS)),
            changes: Mutex::new(()),
        }))
    }

    /// The guest's name.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// What the process does.
    pub(crate) fn mode(&self) -> &str {
        &self.0.mode
    }

    pub(crate) fn config(&self) -> Option<Arc<dyn ConfigProvider>> {
        self.0.config.clone()
    }

    /// The engine, for what does not wait for it.
    pub(crate) fn engine(&self) -> &Handle {
        &self.0.engine
    }

    /// Asks the engine, away from the server's thread.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Handle) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let engine = self.0.engine.clone();
        let asked = tokio::task::spawn_blocking(move || question(&engine));
        match tokio::time::timeout(ANSWER_TIME, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(fault)) => {
                tracing::error!(%fault, "a call of the engine");
                Err(Fault::new(ProblemType::Internal, "a call of the engine failed"))
            }
            Err(_) => {
                let seconds = ANSWER_TIME.as_secs();
                let detail = format!("the engine has not answered for {seconds} seconds");
                Err(Fault::new(ProblemType::EngineStopped, detail))
            }
        }
    }

    /// Asks what only a running engine can tell.
    pub(crate) async fn tell<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Handle) -> Option<T> + Send + 'static,
    ) -> Result<T, Fault> {
        self.ask(question).await?.ok_or_else(Fault::stopped)
    }

    /// As [`ask`](Self::ask), one at a time: for what depends on what it has read.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Handle) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let turn = self.0.clone();
        self.ask(move |engine| {
            // A change that panicked has left nothing of its own behind this lock.
            let _turn = turn.changes.lock().unwrap_or_else(PoisonError::into_inner);
            change(engine)
        })
        .await
    }

    /// A place among the event streams.
    pub(crate) fn event_stream(&self) -> Result<OwnedSemaphorePermit, Fault> {
        place(&self.0.events, "event streams", MAX_EVENT_STREAMS)
    }

    /// A place among the captures.
    pub(crate) fn capture_stream(&self) -> Result<OwnedSemaphorePermit, Fault> {
        place(&self.0.captures, "captures", MAX_CAPTURE_STREAMS)
    }
}

fn place(places: &Arc<Semaphore>, what: &str, most: usize) -> Result<OwnedSemaphorePermit, Fault> {
    places.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("{most} {what} are open, which is the most there may be");
        Fault::new(ProblemType::TooMany, detail).help("end one, or read from one together")
    })
}

/// How long the engine may take. It answers in a turn of its loop, so this is a fault of its.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Event streams at once. Each has a queue in the engine.
const MAX_EVENT_STREAMS: usize = 32;
/// Captures at once. Each costs the engine a copy of every frame that passes its filter.
const MAX_CAPTURE_STREAMS: usize = 4;
