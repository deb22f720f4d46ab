//! What a verified token says, and which rights that gives. Pure.

use serde_json::{Map, Value};
use weir_crds::v1alpha1::ClaimRule;

/// What a verified token says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// The claims as they stand in the token.
    #[must_use]
    pub const fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// All claims, by name.
    #[must_use]
    pub const fn all(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Whom the token is about.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.0.get("sub")?.as_str()
    }

    /// The claim of this name; where there is none, the one at the end of this path of names. The names
    /// of some claims are URLs, which have dots in them.
    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        if let Some(claim) = self.0.get(path) {
            return Some(claim);
        }
        let mut names = path.split('.');
        let first = self.0.get(names.next()?)?;
        names.try_fold(first, |claim, name| claim.get(name))
    }

    /// Whether a claim has one of the values that a rule names.
    #[must_use]
    pub fn satisfy(&self, rule: &ClaimRule) -> bool {
        let ClaimRule { claim, any_of } = rule;
        let is_named = |value: &str| any_of.iter().any(|named| named == value);
        match self.get(claim) {
            Some(Value::String(text)) => text.split(' ').any(is_named),
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).any(is_named),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_right_is_one_of_the_values_of_a_list_or_of_a_text() {
        let rule = |claim: &str| ClaimRule {
            claim: claim.to_owned(),
            any_of: vec!["read".to_owned(), "all".to_owned()],
        };
        let claims = json!({
            "scope": "openid read", "wide": "reader", "roles": ["x", "all"], "none": ["write", 1],
            "realm_access": {"roles": ["read"]}, "https://a.b/roles": ["all"], "flag": true,
        });
        let claims = Claims::new(claims.as_object().unwrap().clone());
        for claim in ["scope", "roles", "realm_access.roles", "https://a.b/roles"] {
            assert!(claims.satisfy(&rule(claim)), "{claim}");
        }
        for claim in ["wide", "none", "flag", "missing", "realm_access", "scope.read", ""] {
            assert!(!claims.satisfy(&rule(claim)), "{claim}");
        }
    }
}
