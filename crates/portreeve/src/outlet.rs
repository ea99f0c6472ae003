//! What the loop hands to readers on other threads, without ever waiting for one.
//!
//! Owns the lock and the two ways to wait at its other end: a thread's and a task's. The loop only
//! tries the lock; while a reader holds it, what there is to hand over stays where it is and is
//! tried again with the next turn. A reader holds it for a bounded copy, never while it waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A value that the loop adds to and readers take from. Clones are the same value.
#[derive(Debug)]
pub(crate) struct Outlet<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    value: T,
    /// Tasks to wake with the next change.
    wakers: Vec<Waker>,
    /// Nothing will be added any more.
    closed: bool,
}

impl<T> Outlet<T> {
    pub(crate) fn new(value: T) -> Self {
        let state = State { value, wakers: Vec::new(), closed: false };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// Changes the value and wakes who waits, unless a reader holds it; says whether it did.
    pub(crate) fn try_update(&self, change: impl FnOnce(&mut T)) -> bool {
        let mut state = match self.0.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        change(&mut state.value);
        self.wake(state);
        true
    }

    /// Says that nothing follows. At the loop's end: this may wait for a reader's copy.
    pub(crate) fn close(&self, change: impl FnOnce(&mut T)) {
        let mut state = self.lock();
        change(&mut state.value);
        state.closed = true;
        self.wake(state);
    }

    /// Looks at the value, or changes what only readers care for: wakes nobody.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut self.lock().value)
    }

    /// Waits until `take` has something, at most for `timeout`. `None` also when nothing follows.
    pub(crate) fn wait<R>(
        &self,
        timeout: Option<Duration>,
        mut take: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.lock();
        loop {
            if let Some(taken) = take(&mut state.value) {
                return Some(taken);
            }
            if state.closed {
                return None;
            }
            state = match until {
                None => self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.checked_duration_since(Instant::now())?;
                    let waited = self.0.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The same for a task, which is woken when it is worth asking again.
    pub(crate) fn poll<R>(
        &self,
        context: &Context<'_>,
        mut take: impl FnMut(&mut T) -> Option<R>,
    ) -> Poll<Option<R>> {
        let mut state = self.lock();
        if let Some(taken) = take(&mut state.value) {
            return Poll::Ready(Some(taken));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        let waker = context.waker();
        if !state.wakers.iter().any(|other| other.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Whoever panicked was copying; the value is whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, mut state: MutexGuard<'_, State<T>>) {
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.0.changed.notify_all();
        for waker in wakers {
            waker.wake();
        }
    }
}

impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    const SOON: Duration = Duration::from_millis(1);

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_loop_never_waits_for_a_reader() {
        let outlet = Outlet::new(0);
        outlet.with(|_| assert!(!outlet.try_update(|value| *value = 1)));
        assert!(outlet.try_update(|value| *value = 2));
        assert_eq!(outlet.with(|value| *value), 2);
    }

    #[test]
    fn threads_and_tasks_are_woken_and_told_of_the_end() {
        let outlet = Outlet::new(Vec::new());
        assert_eq!(outlet.wait(Some(SOON), Vec::pop), None::<u8>);
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let context = Context::from_waker(&waker);
        assert_eq!(outlet.poll(&context, Vec::pop), Poll::Pending);
        assert_eq!(outlet.poll(&context, Vec::pop), Poll::Pending);
        assert!(outlet.try_update(|value| value.push(7)));
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "one task is woken once");
        assert_eq!(outlet.poll(&context, Vec::pop), Poll::Ready(Some(7)));

        let other = outlet.clone();
        let waiting = std::thread::spawn(move || {
            let first = other.wait(None, Vec::pop);
            (first, other.wait(None, Vec::pop))
        });
        while !outlet.try_update(|value| value.push(8)) {}
        while outlet.with(|value| !value.is_empty()) {
            std::thread::yield_now();
        }
        outlet.close(|_| {});
        assert_eq!(waiting.join().unwrap(), (Some(8), None));
        assert_eq!(outlet.poll(&context, Vec::pop), Poll::Ready(None));
    }
}
