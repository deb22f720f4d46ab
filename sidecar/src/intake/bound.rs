//! How large a request may be, by what its headers say of it. So one that is too large is refused before it is read.

use http::HeaderMap;

use super::{Reason, Rejection, mode::Mode};

/// What may stand around a payload that is the body: white space around a JSON text.
const AROUND: usize = 1_024;

/// What stands in a CloudEvent in JSON beside its payload: its attributes, and the names of these.
const ENVELOPE: usize = 128 * 1024;

/// The most bytes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// It holds one event.
    Event {
        /// The most bytes of the body.
        most: usize,
        /// The most bytes of the payload.
        limit: usize,
    },
    /// It may hold many.
    Batch {
        /// The most bytes of the body.
        most: usize,
    },
}

/// The most bytes of a CloudEvent in JSON. Base64 makes a third more of a payload, and `\u` escapes make three times as
/// much of a text in letters of two bytes.
pub(super) const fn of_one(max_event_bytes: usize) -> usize {
    max_event_bytes.saturating_mul(3).saturating_add(ENVELOPE)
}

impl Bound {
    /// The bound of a request with these headers, whose batches may have so many bytes; the largest event fits
    /// into one, whatever they say.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the headers.
    pub fn of(
        headers: &HeaderMap,
        max_event_bytes: usize,
        max_batch_bytes: usize,
    ) -> Result<Self, Rejection> {
        let limit = max_event_bytes;
        let envelope = of_one(limit);
        Ok(match Mode::of(headers)? {
            Mode::Structured => Self::Event { most: envelope, limit },
            Mode::Binary { content_type: _ }
            | Mode::Json { content_type: _ }
            | Mode::Opaque { content_type: _ }
            | Mode::Undeclared => Self::Event { most: limit.saturating_add(AROUND), limit },
            Mode::Batch | Mode::Lines => Self::Batch { most: max_batch_bytes.max(envelope) },
        })
    }

    /// The most bytes of the body.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        match self {
            Self::Event { most, limit: _ } | Self::Batch { most } => *most,
        }
    }

    /// What is said of a body that has more.
    #[must_use]
    pub fn exceeded(&self) -> Rejection {
        match *self {
            Self::Event { most, limit } => Reason::BodyTooLarge { most, limit }.into(),
            Self::Batch { most } => Reason::BatchTooLarge { most }.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    #[test]
    fn one_event_has_its_own_bound_and_a_batch_is_larger() {
        let of = |media_type: &'static str| {
            let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(media_type))];
            Bound::of(&headers.into_iter().collect(), 1_000, 10_000_000).map(|bound| bound.bytes())
        };
        for one in ["application/json", "text/plain", "application/octet-stream"] {
            assert_eq!(of(one).unwrap(), 2_024, "{one}");
        }
        assert_eq!(of("application/cloudevents+json").unwrap(), 134_072);
        for many in ["application/x-ndjson", "application/cloudevents-batch+json"] {
            assert_eq!(of(many).unwrap(), 10_000_000, "{many}");
        }
        assert_eq!(of("image/png").unwrap_err().status(), 415);
        // The largest event has its place, however little there is for batches.
        let lines = [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))];
        let lines: HeaderMap = lines.into_iter().collect();
        assert_eq!(Bound::of(&lines, 1_000, 1).unwrap().bytes(), 134_072);
        let said = Bound::of(&lines, 1_000, 1).unwrap().exceeded();
        assert_eq!((said.status().as_u16(), said.category()), (413, "batch_too_large"));
    }
}
