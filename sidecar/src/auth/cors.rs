//! Says to browsers which pages of other origins may do what (Fetch standard, section 3.3). Sans-I/O.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use weir_crds::v1alpha1::Cors as Spec;

use super::origins::Origins;

/// What any endpoint takes of a page.
const METHODS: &str = "GET, HEAD, QUERY, POST, PUT, DELETE";

/// What a page may read of an answer, beside what every page may.
const EXPOSED: &str = "etag, link, location, retry-after, weir-gap, weir-up-to-date, stream-closed, stream-cursor, stream-next-offset, \
                       stream-up-to-date, producer-epoch, producer-seq, producer-expected-seq, \
                       producer-received-seq, www-authenticate";

/// What is varied by a preflight's answer.
const VARY_PREFLIGHT: &str =
    "origin, access-control-request-method, access-control-request-headers";

/// The rules of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    origins: Origins,
    credentials: bool,
    max_age: u64,
}

impl From<&Spec> for Cors {
    fn from(spec: &Spec) -> Self {
        let Spec { allowed_origins, allow_credentials, max_age } = spec;
        Self {
            origins: Origins::new(allowed_origins),
            credentials: *allow_credentials,
            max_age: max_age.get().as_secs(),
        }
    }
}

impl Cors {
    /// The origins whose pages are allowed.
    #[must_use]
    pub const fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Adds to the head of an answer what lets the page that asked read it.
    pub fn allow(&self, request: &HeaderMap, response: &mut HeaderMap) {
        if self.admit(request, response) {
            let exposed = HeaderValue::from_static(EXPOSED);
            response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// The head of the answer to a browser that asks what a page may do; `None` where it may do nothing.
    #[must_use]
    pub fn preflight(&self, request: &HeaderMap) -> Option<HeaderMap> {
        let mut response = HeaderMap::new();
        if !self.admit(request, &mut response) {
            return None;
        }
        response.insert(header::VARY, HeaderValue::from_static(VARY_PREFLIGHT));
        let methods = HeaderValue::from_static(METHODS);
        response.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        // Every header is as good as any other here; but `*` would be one of this name where credentials
        // are sent, and never includes `authorization`.
        if let Some(asked) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            response.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        response.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age));
        Some(response)
    }

    /// Names the origin, if it is allowed. The answer varies with it also where it isn't: a cache must
    /// not give one page what was answered to another.
    fn admit(&self, request: &HeaderMap, response: &mut HeaderMap) -> bool {
        let origin = request.get(header::ORIGIN);
        let allowed = match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::These(_) => {
                response.append(header::VARY, HeaderValue::from_static("origin"));
                origin.filter(|origin| self.origins.allow(origin)).cloned()
            }
        };
        let (Some(_), Some(allowed)) = (origin, allowed) else { return false };
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        true
    }
}

/// Whether a request asks what a page may do, before it does it.
#[must_use]
pub fn is_preflight(headers: &HeaderMap) -> bool {
    let has = |name: &HeaderName| headers.contains_key(name);
    has(&header::ORIGIN) && has(&header::ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(yaml: &str) -> Cors {
        Cors::from(&serde_yaml::from_str::<Spec>(yaml).unwrap())
    }

    fn from_page(origin: Option<&'static str>) -> HeaderMap {
        let origin = origin.map(HeaderValue::from_static);
        origin.into_iter().map(|origin| (header::ORIGIN, origin)).collect()
    }

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn an_answer_names_the_origin_that_may_read_it_and_varies_with_it() {
        let named =
            "{allowedOrigins: ['https://a.example', 'https://b.example'], allowCredentials: true}";
        for (yaml, origin, allowed, credentials, vary) in [
            (
                named,
                Some("https://b.example"),
                Some("https://b.example"),
                Some("true"),
                Some("origin"),
            ),
            (named, Some("https://c.example"), None, None, Some("origin")),
            (named, Some("null"), None, None, Some("origin")),
            (named, None, None, None, Some("origin")),
            ("{allowedOrigins: ['*']}", Some("https://c.example"), Some("*"), None, None),
            ("{allowedOrigins: ['*']}", None, None, None, None),
        ] {
            let mut response = HeaderMap::new();
            cors(yaml).allow(&from_page(origin), &mut response);
            assert_eq!(text(&response, "access-control-allow-origin"), allowed, "{origin:?}");
            assert_eq!(
                text(&response, "access-control-allow-credentials"),
                credentials,
                "{origin:?}"
            );
            assert_eq!(text(&response, "vary"), vary, "{origin:?}");
            let exposed = text(&response, "access-control-expose-headers").is_some();
            assert_eq!(exposed, allowed.is_some(), "{origin:?}");
        }
    }

    #[test]
    fn a_preflight_is_answered_for_pages_that_are_allowed() {
        let cors = cors("{allowedOrigins: ['https://a.example'], maxAge: 5m}");
        let mut request = from_page(Some("https://a.example"));
        assert!(!is_preflight(&request));
        request.insert("access-control-request-method", HeaderValue::from_static("POST"));
        request.insert("access-control-request-headers", HeaderValue::from_static("authorization"));
        assert!(is_preflight(&request));
        let response = cors.preflight(&request).unwrap();
        assert_eq!(text(&response, "access-control-allow-methods"), Some(METHODS));
        assert_eq!(text(&response, "access-control-allow-headers"), Some("authorization"));
        assert_eq!(text(&response, "access-control-max-age"), Some("300"));
        assert_eq!(text(&response, "vary"), Some(VARY_PREFLIGHT));
        request.insert("origin", HeaderValue::from_static("https://evil.example"));
        assert_eq!(cors.preflight(&request), None);
    }
}
