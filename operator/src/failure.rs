//! Sorts errors into a bounded set of categories, and words them for a person.

use std::error::Error;

/// An error of a reconcile.
pub trait Failure: Error + Send + Sync + 'static {
    /// What went wrong, in broad terms: the label of the metrics.
    fn category(&self) -> Category;
}

/// What went wrong, in broad terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// The operator lacks a permission.
    Forbidden,
    /// An object, or a whole kind, is not there.
    NotFound,
    /// Somebody else changed the object in between.
    Conflict,
    /// The API server refused an object as wrong.
    Invalid,
    /// The API server answered that it can't just now.
    Unavailable,
    /// The API server was not reached, or the connection broke.
    Transport,
    /// Neither of these: a defect, most likely.
    Internal,
}

impl Category {
    /// The value of the metrics' label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::Transport => "transport",
            Self::Internal => "internal",
        }
    }

    /// Whether a failure of this kind says nothing about the object, and passes by itself, as a rule.
    #[must_use]
    pub const fn passes(self) -> bool {
        match self {
            Self::Conflict | Self::Unavailable | Self::Transport => true,
            Self::Forbidden | Self::NotFound | Self::Invalid | Self::Internal => false,
        }
    }

    /// The category of an error that the Kubernetes client returned.
    #[must_use]
    pub fn of(error: &kube::Error) -> Self {
        if let kube::Error::Api(status) = error {
            return Self::of_status(status);
        }
        let transport = matches!(
            error,
            kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_)
        );
        if transport { Self::Transport } else { Self::Internal }
    }

    /// By the code alone: an answer that is no Status, as for a kind that is not there, has no reason.
    const fn of_status(status: &kube::core::Status) -> Self {
        match status.code {
            403 => Self::Forbidden,
            404 => Self::NotFound,
            409 => Self::Conflict,
            400 | 422 => Self::Invalid,
            429 | 500.. => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

/// Words an error of the Kubernetes client for a person: the API server's own message where there is
/// one, because it names verb, resource and namespace.
#[must_use]
pub fn explain(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error
        && !status.message.is_empty()
    {
        return status.message.clone();
    }
    chain(error)
}

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status::failure("the message", reason).with_code(code)))
    }

    #[test]
    fn an_answer_of_the_api_server_has_the_category_of_its_code() {
        for (code, reason, category) in [
            (403, "Forbidden", Category::Forbidden),
            (404, "NotFound", Category::NotFound),
            (404, "Failed to parse error data", Category::NotFound),
            (409, "Conflict", Category::Conflict),
            (409, "AlreadyExists", Category::Conflict),
            (422, "Invalid", Category::Invalid),
            (400, "BadRequest", Category::Invalid),
            (429, "TooManyRequests", Category::Unavailable),
            (503, "ServiceUnavailable", Category::Unavailable),
            (418, "", Category::Internal),
        ] {
            assert_eq!(Category::of(&api(code, reason)), category, "{code}");
        }
    }

    #[test]
    fn what_is_the_api_servers_own_trouble_passes() {
        for code in [409, 429, 500, 503] {
            assert!(Category::of(&api(code, "")).passes(), "{code}");
        }
        for code in [400, 403, 404, 418, 422] {
            assert!(!Category::of(&api(code, "")).passes(), "{code}");
        }
    }

    #[test]
    fn the_message_of_the_api_server_is_not_wrapped() {
        assert_eq!(explain(&api(403, "Forbidden")), "the message");
    }
}
