//! Gathers what asks for reconciles, so that what happens in one go is looked at once.

use std::collections::HashSet;
use std::hash::Hash;
use std::pin::pin;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tokio::time::sleep;

/// Passes on what comes, each once for as long as `window` lasts. The window begins with the first that comes, so
/// nothing waits for longer than that, however often it comes.
pub fn gathered<T>(
    triggers: impl Stream<Item = T> + Send + 'static,
    window: Duration,
) -> BoxStream<'static, T>
where
    T: Eq + Hash + Send + 'static,
{
    let triggers = Box::pin(triggers);
    let windows = stream::unfold(triggers, move |mut triggers| async move {
        let mut found = HashSet::from([triggers.next().await?]);
        let mut over = pin!(sleep(window));
        loop {
            tokio::select! {
                next = triggers.next() => match next {
                    Some(next) => found.insert(next),
                    None => break,
                },
                () = &mut over => break,
            };
        }
        Some((stream::iter(found), triggers))
    });
    windows.flatten().boxed()
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;
    use tokio::time::{Instant, advance};

    use super::*;

    const WINDOW: Duration = Duration::from_millis(500);

    #[tokio::test(start_paused = true)]
    async fn what_comes_within_a_window_comes_once() {
        let mut gathered =
            gathered(stream::iter(["a", "b", "a", "a"]).chain(stream::pending()), WINDOW);
        let mut found = [gathered.next().await.unwrap(), gathered.next().await.unwrap()];
        found.sort_unstable();
        assert_eq!(found, ["a", "b"]);
        let more = tokio::time::timeout(WINDOW * 10, gathered.next()).await;
        assert!(more.is_err(), "{more:?}");
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
        let mut gathered = gathered(receiver, WINDOW);
        for window in 1..=3 {
            assert_eq!(gathered.next().await, Some("a"));
            assert!(began.elapsed() <= WINDOW * (window + 1), "{:?}", began.elapsed());
        }
        drop(gathered);
        storm.await.unwrap();
    }
}
