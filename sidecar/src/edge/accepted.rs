//! Which media types a client accepts (RFC 9110, section 12.5.1).

use http::{HeaderMap, header};

/// The media ranges that a client has sent, in small letters: those that weigh more first, and then in their order.
pub(super) struct Accepted {
    pub(super) named: Vec<String>,
    /// Those whose weight is 0.
    pub(super) refused: Vec<String>,
}

impl Accepted {
    pub(super) fn by(headers: &HeaderMap) -> Self {
        let sent = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let (refused, mut named): (Vec<_>, Vec<_>) = sent
            .flat_map(|accept| accept.split(','))
            .map(|range| (weight(range), media_type(range)))
            .partition(|(weight, _)| *weight == 0.0);
        named.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        let types = |ranges: Vec<(f32, String)>| ranges.into_iter().map(|(_, range)| range);
        Self { named: types(named).collect(), refused: types(refused).collect() }
    }
}

fn media_type(range: &str) -> String {
    range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The weight of a range: what can't be read as one is passed over.
fn weight(range: &str) -> f32 {
    let mut parameters = range.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let weight = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    let weight = weight.and_then(|(_, weight)| weight.trim().parse().ok());
    weight.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(1.0)
}
