//! The subprotocols: the language that the messages of a connection are in, and the token that a page
//! may carry beside it.

use http::{HeaderMap, header};

/// What stands before a token in `sec-websocket-protocol`.
const BEARER: &str = "bearer.";

/// The language of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Subprotocol {
    /// Each message of the server is one event, with its cursor, or a control. Also without a name.
    #[default]
    Json,
    /// Each message is one CloudEvent in its JSON format.
    CloudEvents,
    /// Several pipelines on one connection, with acknowledgements and publishing.
    Multiplexed,
}

impl Subprotocol {
    /// Every subprotocol.
    pub const ALL: [Self; 3] = [Self::Json, Self::CloudEvents, Self::Multiplexed];

    /// The name in the handshake.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "weir.json",
            Self::CloudEvents => "cloudevents.json",
            Self::Multiplexed => "weir.v1",
        }
    }
}

/// What a client wrote into `sec-websocket-protocol`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offered<'a> {
    /// The first subprotocol that is known here. Where there is none, the connection goes on without
    /// one (RFC 6455, section 4.2.2), as [`Subprotocol::Json`]; a browser then closes it if it asked
    /// for any.
    pub subprotocol: Option<Subprotocol>,
    /// The token in `bearer.TOKEN`: a page can set no other header. It is never sent back.
    pub bearer: Option<&'a str>,
}

/// Splits the header, which may come several times, each a list.
#[must_use]
pub fn offered(headers: &HeaderMap) -> Offered<'_> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let mut offered = Offered::default();
    for entry in values.flat_map(|value| value.split(',')).map(str::trim) {
        let known = Subprotocol::ALL.into_iter().find(|known| known.name() == entry);
        offered.subprotocol = offered.subprotocol.or(known);
        offered.bearer = offered.bearer.or(entry.strip_prefix(BEARER));
    }
    offered
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("sec-websocket-protocol", HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_first_known_subprotocol_and_the_token_are_found_wherever_they_stand() {
        for (values, subprotocol, bearer) in [
            (&[][..], None, None),
            (&["weir.v1"], Some(Subprotocol::Multiplexed), None),
            (
                &["bearer.a-b_c.d, cloudevents.json"],
                Some(Subprotocol::CloudEvents),
                Some("a-b_c.d"),
            ),
            (
                &["mqtt", "weir.json,cloudevents.json", "bearer.x"],
                Some(Subprotocol::Json),
                Some("x"),
            ),
            (&["soap, WEIR.JSON"], None, None),
            (&["bearer.x,bearer.y"], None, Some("x")),
        ] {
            let headers = headers(values);
            assert_eq!(offered(&headers), Offered { subprotocol, bearer }, "{values:?}");
        }
    }
}
