//! Copies what is to be kept out of what it was read with.

use http::HeaderValue;

/// The value by itself: a clone keeps all of the buffer that it is a part of, for as long as there is one.
#[must_use]
pub fn detached(value: &HeaderValue) -> HeaderValue {
    // The same bytes are as good as they were.
    let copy = HeaderValue::from_bytes(value.as_bytes());
    let mut copy = copy.unwrap_or_else(|_| value.clone());
    copy.set_sensitive(value.is_sensitive());
    copy
}
