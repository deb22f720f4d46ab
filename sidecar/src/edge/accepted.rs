//! Which media types a client accepts (RFC 9110, section 12.5.1).

use http::{HeaderMap, header};

/// The media ranges that a client has sent, in small letters, in their order.
pub(super) struct Accepted {
    pub(super) named: Vec<String>,
    /// Those whose weight is 0.
    pub(super) refused: Vec<String>,
}

impl Accepted {
    pub(super) fn by(headers: &HeaderMap) -> Self {
        let sent = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let (refused, named): (Vec<_>, Vec<_>) =
            sent.flat_map(|accept| accept.split(',')).partition(|range| is_refused(range));
        let types = |ranges: Vec<&str>| ranges.into_iter().map(media_type).collect();
        Self { named: types(named), refused: types(refused) }
    }
}

fn media_type(range: &str) -> String {
    range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_refused(range: &str) -> bool {
    let mut parameters = range.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let weight = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weight.is_some_and(|(_, weight)| weight.trim().parse() == Ok(0.0_f32))
}
