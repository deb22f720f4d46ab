//! Takes an input apart as an HTTP message: lines of `name: value`, an empty line, a body.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The first line, the headers and the body of an input. What is no header is left out.
pub(super) fn parse(input: &[u8]) -> (&[u8], HeaderMap, &[u8]) {
    let (first, mut rest) = line(input);
    let mut headers = HeaderMap::new();
    loop {
        let (header, behind) = line(rest);
        rest = behind;
        if header.is_empty() {
            return (first, headers, rest);
        }
        let Some(colon) = header.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (&header[..colon], header[colon + 1..].trim_ascii());
        let name = HeaderName::from_bytes(&name.to_ascii_lowercase());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            // More than this, hyper would not take either.
            if headers.len() < 100 {
                headers.append(name, value);
            }
        }
    }
}

fn line(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[]),
    }
}
