//! Exemplars: for each bucket of a latency, the last delivery of an event that belongs to a trace.

use std::time::Duration;

use parking_lot::Mutex;

use super::histogram::{BUCKETS, bucket};
use crate::{event::TraceId, log::Micros};

/// A delivery that stands for those in its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemplar {
    /// The trace of its event.
    pub trace: TraceId,
    /// How long it took.
    pub latency: Duration,
    /// When it was.
    pub at: Micros,
}

/// One for each bucket; nothing before the first.
#[derive(Debug, Default)]
pub(super) struct Exemplars(Mutex<Vec<Option<Exemplar>>>);

impl Exemplars {
    /// Keeps one. Where somebody looks at them just now it is left out: the next will do as well.
    pub(super) fn keep(&self, exemplar: Exemplar) {
        let Some(mut kept) = self.0.try_lock() else { return };
        if kept.is_empty() {
            *kept = vec![None; BUCKETS];
        }
        if let Some(place) = kept.get_mut(bucket(exemplar.latency)) {
            *place = Some(exemplar);
        }
    }

    /// Puts those that are newer into the places of others.
    pub(super) fn merge_into(&self, newest: &mut [Option<Exemplar>; BUCKETS]) {
        for (place, kept) in newest.iter_mut().zip(self.0.lock().iter()) {
            let newer = kept.filter(|kept| place.is_none_or(|other| other.at <= kept.at));
            *place = newer.or(*place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_bucket_stands_for_it() {
        let trace = TraceId::of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let exemplar = |micros, at| Exemplar { trace, latency: Duration::from_micros(micros), at };
        let (a, b) = (Exemplars::default(), Exemplars::default());
        let mut newest = [None; BUCKETS];
        a.merge_into(&mut newest);
        assert_eq!(newest, [None; BUCKETS]);
        a.keep(exemplar(100, 1));
        a.keep(exemplar(200, 2));
        b.keep(exemplar(150, 3));
        b.keep(exemplar(60_000_000, 1));
        b.merge_into(&mut newest);
        a.merge_into(&mut newest);
        assert_eq!(
            (newest[0], newest[BUCKETS - 1]),
            (Some(exemplar(150, 3)), Some(exemplar(60_000_000, 1)))
        );
        assert_eq!(newest.iter().flatten().count(), 2);
    }
}
