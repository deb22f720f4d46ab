//! What a client offers in `sec-websocket-extensions`, and what is agreed on (RFC 7692, section 7.1).

use std::str::FromStr;

use http::{HeaderMap, header};

use super::{Coding, Window};

/// The one extension that is taken.
const NAME: &str = "permessage-deflate";

/// What a client offers about compression: nothing, or what of it can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Nothing that this server can do.
    None,
    /// To compress messages.
    Deflate {
        /// The largest window, as a logarithm, that the client wants to keep for the server's messages;
        /// where it doesn't mind, nothing.
        server_max_window_bits: Option<u8>,
    },
}

/// The header isn't written as RFC 6455, section 9.1, has it; such a handshake must be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sec-websocket-extensions must be a list of names with parameters")]
pub struct OfferError;

/// What the two sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Agreement {
    /// How far back the server's messages refer.
    pub window: Window,
    /// Whether the client asked for a bound on the window, which the answer must then repeat.
    bounded: bool,
}

impl Offer {
    /// The first offer of a request that can be taken.
    ///
    /// # Errors
    ///
    /// Fails where the header is not well-formed.
    pub fn of(headers: &HeaderMap) -> Result<Self, OfferError> {
        let mut best = Self::None;
        for value in headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS) {
            let mut rest = value.to_str().map_err(|_| OfferError)?;
            while let Some(extension) = extension(&mut rest)? {
                if best == Self::None {
                    best = extension.offer();
                }
            }
        }
        Ok(best)
    }

    /// What is agreed on by a server that wants to compress.
    #[must_use]
    pub const fn agree(self) -> Option<Agreement> {
        match self {
            Self::None => None,
            Self::Deflate { server_max_window_bits: None } => {
                Some(Agreement { window: Window::Full, bounded: false })
            }
            Self::Deflate { server_max_window_bits: Some(15) } => {
                Some(Agreement { window: Window::Full, bounded: true })
            }
            Self::Deflate { server_max_window_bits: Some(_) } => {
                Some(Agreement { window: Window::Small, bounded: true })
            }
        }
    }
}

impl Agreement {
    /// How messages are written from now on, those of at least `min_size` bytes.
    #[must_use]
    pub const fn coding(self, min_size: usize) -> Coding {
        Coding::Deflate { window: self.window, min_size }
    }

    /// The value of `sec-websocket-extensions` in the answer. No side takes a context over; the client's
    /// window is not bounded, because it is kept for no longer than a message.
    #[must_use]
    pub fn answer(self) -> String {
        let Self { window, bounded } = self;
        let mut answer = format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
        if bounded {
            answer.push_str(&format!("; server_max_window_bits={}", window.bits()));
        }
        answer
    }
}

/// One element of the list.
struct Extension<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, Option<&'a str>)>,
}

impl Extension<'_> {
    /// What it offers, if every parameter is known, valid and given once; one that isn't has to be
    /// declined (section 7.1).
    fn offer(&self) -> Offer {
        let offer = Offer::Deflate { server_max_window_bits: self.window().flatten() };
        if self.name == NAME && self.is_valid() { offer } else { Offer::None }
    }

    fn is_valid(&self) -> bool {
        let valid = |(name, value): (&str, Option<&str>)| match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None)
            | ("client_max_window_bits", None) => true,
            ("client_max_window_bits", Some(bits)) => window_bits(bits).is_some(),
            // 8 can't be done: what compresses needs a window of 2^9 bytes.
            ("server_max_window_bits", Some(bits)) => {
                window_bits(bits).is_some_and(|bits| bits > 8)
            }
            _ => false,
        };
        let mut names: Vec<_> = self.parameters.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        names.len() == self.parameters.len() && self.parameters.iter().copied().all(valid)
    }

    fn window(&self) -> Option<Option<u8>> {
        let window = self.parameters.iter().find(|(name, _)| *name == "server_max_window_bits");
        window.map(|(_, value)| value.and_then(window_bits))
    }
}

/// 8 to 15, without a leading zero.
fn window_bits(text: &str) -> Option<u8> {
    let bits = u8::from_str(text).ok().filter(|bits| (8..=15).contains(bits))?;
    (bits.to_string() == text).then_some(bits)
}

/// Takes one element off the list; `None` at its end. Empty elements are let pass (RFC 9110, 5.6.1).
fn extension<'a>(rest: &mut &'a str) -> Result<Option<Extension<'a>>, OfferError> {
    *rest = rest.trim_start_matches([' ', '\t', ',']);
    if rest.is_empty() {
        return Ok(None);
    }
    let name = token(rest)?;
    let mut parameters = Vec::new();
    while skip(rest, ';') {
        let name = token(rest)?;
        let value = if skip(rest, '=') { Some(value(rest)?) } else { None };
        parameters.push((name, value));
    }
    skip_blanks(rest);
    if rest.is_empty() || rest.starts_with(',') {
        Ok(Some(Extension { name, parameters }))
    } else {
        Err(OfferError)
    }
}

/// A token, or a quoted text of one (RFC 6455, section 9.1).
fn value<'a>(rest: &mut &'a str) -> Result<&'a str, OfferError> {
    skip_blanks(rest);
    let Some(quoted) = rest.strip_prefix('"') else { return token(rest) };
    *rest = quoted;
    let value = token(rest)?;
    *rest = rest.strip_prefix('"').ok_or(OfferError)?;
    Ok(value)
}

/// Takes one token (RFC 9110, section 5.6.2), and the blanks before it.
fn token<'a>(rest: &mut &'a str) -> Result<&'a str, OfferError> {
    skip_blanks(rest);
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = rest.find(|c| !is_token(c)).unwrap_or(rest.len());
    let (token, behind) = rest.split_at_checked(end).ok_or(OfferError)?;
    *rest = behind;
    if token.is_empty() { Err(OfferError) } else { Ok(token) }
}

fn skip(rest: &mut &str, what: char) -> bool {
    let found = rest.trim_start_matches([' ', '\t']).strip_prefix(what);
    if let Some(behind) = found {
        *rest = behind;
    }
    found.is_some()
}

fn skip_blanks(rest: &mut &str) {
    *rest = rest.trim_start_matches([' ', '\t']);
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn offer(values: &[&str]) -> Result<Offer, OfferError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("sec-websocket-extensions", HeaderValue::from_str(value).unwrap());
        }
        Offer::of(&headers)
    }

    const fn deflate(server_max_window_bits: Option<u8>) -> Result<Offer, OfferError> {
        Ok(Offer::Deflate { server_max_window_bits })
    }

    #[test]
    fn the_first_offer_that_can_be_taken_is() {
        for (values, expected) in [
            (&[][..], Ok(Offer::None)),
            (&["permessage-deflate"], deflate(None)),
            // As Chrome and Firefox write it.
            (&["permessage-deflate; client_max_window_bits"], deflate(None)),
            (
                &["permessage-deflate;server_max_window_bits=\"10\" ; client_max_window_bits=8"],
                deflate(Some(10)),
            ),
            (&["x-webkit-deflate-frame, permessage-deflate"], deflate(None)),
            (&["unknown; a=b", " ,, permessage-deflate;server_no_context_takeover"], deflate(None)),
            (&["permessage-deflate; server_max_window_bits=8, permessage-deflate"], deflate(None)),
            (
                &["permessage-deflate; server_max_window_bits=9, permessage-deflate"],
                deflate(Some(9)),
            ),
        ] {
            assert_eq!(offer(values), expected, "{values:?}");
        }
    }

    #[test]
    fn an_offer_with_a_parameter_that_is_none_is_declined() {
        for parameters in [
            "server_max_window_bits",
            "server_max_window_bits=16",
            "server_max_window_bits=8",
            "server_max_window_bits=09",
            "client_max_window_bits=7",
            "client_max_window_bits=1000",
            "server_no_context_takeover=true",
            "client_no_context_takeover; client_no_context_takeover",
            "level=9",
        ] {
            let value = format!("permessage-deflate; {parameters}");
            assert_eq!(offer(&[&value]), Ok(Offer::None), "{value}");
        }
    }

    #[test]
    fn what_is_no_list_of_extensions_is_an_error() {
        for value in [
            "permessage-deflate;",
            "permessage-deflate; =9",
            "a b",
            "a; b=",
            "a; b=\"c",
            "a;;b",
            "permessage-deflate, a/b",
            "(a)",
            "a; b=\"\"",
        ] {
            assert_eq!(offer(&[value]), Err(OfferError), "{value}");
        }
    }

    #[test]
    fn the_answer_repeats_a_bound_that_was_asked_for_and_no_other() {
        let answer = |bits| {
            let offer = Offer::Deflate { server_max_window_bits: bits };
            offer.agree().map(Agreement::answer).unwrap_or_default()
        };
        let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert_eq!(answer(None), plain);
        assert_eq!(answer(Some(15)), format!("{plain}; server_max_window_bits=15"));
        assert_eq!(answer(Some(12)), format!("{plain}; server_max_window_bits=9"));
        assert_eq!(Offer::None.agree(), None);
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "[ -~]{0,60}", pieces in prop::collection::vec(
            prop::sample::select(&["permessage-deflate", ";", ",", "=", "\"", " ", "a", "server_max_window_bits", "9"][..]), 0..12)
        ) {
            let _any = offer(&[&text]);
            let _any = offer(&[&pieces.concat()]);
        }
    }
}
