//! Gathers what asks for reconciles, so that what happens in one go is looked at once.

use std::collections::HashSet;
use std::hash::Hash;
use std::pin::pin;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tokio::time::sleep;

/// The most windows that what comes waits for while there is something more urgent.
const MOST_WINDOWS: u32 = 10;

/// Passes on what comes, each once for as long as `window` lasts, and while it `is_urgent` elsewhere for ten times as
/// long. The window begins with the first that comes, so nothing waits for longer than that, however often it comes.
pub fn gathered<T>(
    triggers: impl Stream<Item = T> + Send + 'static,
    window: Duration,
    is_urgent: impl Fn() -> bool + Send + 'static,
) -> BoxStream<'static, T>
where
    T: Eq + Hash + Send + 'static,
{
    let state = (Box::pin(triggers), is_urgent);
    let windows = stream::unfold(state, move |(mut triggers, is_urgent)| async move {
        let mut found = HashSet::from([triggers.next().await?]);
        for _ in 0..MOST_WINDOWS {
            if !gather(&mut triggers, &mut found, window).await || !is_urgent() {
                break;
            }
        }
        Some((stream::iter(found), (triggers, is_urgent)))
    });
    windows.flatten().boxed()
}

/// Gathers what comes within a window. Answers whether more may come.
async fn gather<T: Eq + Hash>(
    triggers: &mut (impl Stream<Item = T> + Unpin),
    found: &mut HashSet<T>,
    window: Duration,
) -> bool {
    let mut over = pin!(sleep(window));
    loop {
        tokio::select! {
            next = triggers.next() => match next {
                Some(next) => found.insert(next),
                None => return false,
            },
            () = &mut over => return true,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::channel::mpsc;
    use tokio::time::{Instant, advance};

    use super::*;

    const WINDOW: Duration = Duration::from_millis(500);

    #[tokio::test(start_paused = true)]
    async fn what_comes_within_a_window_comes_once() {
        let mut gathered =
            gathered(stream::iter(["a", "b", "a", "a"]).chain(stream::pending()), WINDOW, || false);
        let mut found = [gathered.next().await.unwrap(), gathered.next().await.unwrap()];
        found.sort_unstable();
        assert_eq!(found, ["a", "b"]);
        let more = tokio::time::timeout(WINDOW * 10, gathered.next()).await;
        assert!(more.is_err(), "{more:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_lets_what_is_urgent_go_first_but_not_for_ever() {
        let (sender, receiver) = mpsc::unbounded();
        let urgent = Arc::new(AtomicBool::new(true));
        let is_urgent = Arc::clone(&urgent);
        let mut gathered = gathered(receiver, WINDOW, move || is_urgent.load(Ordering::Relaxed));
        let mut waited = async |trigger| {
            let began = Instant::now();
            sender.unbounded_send(trigger).unwrap();
            assert_eq!(gathered.next().await, Some(trigger));
            began.elapsed()
        };
        assert_eq!(waited("a").await, WINDOW * MOST_WINDOWS);
        urgent.store(false, Ordering::Relaxed);
        assert_eq!(waited("b").await, WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_ends_to_come_waits_no_longer_than_a_window() {
        let (sender, receiver) = mpsc::unbounded();
        let began = Instant::now();
        let storm = tokio::spawn(async move {
            while sender.unbounded_send("a").is_ok() {
                advance(WINDOW / 10).await;
            }
        });
        let mut gathered = gathered(receiver, WINDOW, || false);
        for window in 1..=3 {
            assert_eq!(gathered.next().await, Some("a"));
            assert!(began.elapsed() <= WINDOW * (window + 1), "{:?}", began.elapsed());
        }
        drop(gathered);
        storm.await.unwrap();
    }
}
