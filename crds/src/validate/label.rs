//! The syntax of names and labels, as Kubernetes has it.

/// Whether `name` is a DNS label (RFC 1123, section 2.1).
pub(super) fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && has_the_form_of_a_dns_label(name)
}

/// Whether `name` is a DNS subdomain: labels with dots between them. Kubernetes bounds the whole by 253
/// characters, and its labels not at all.
pub(super) fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(has_the_form_of_a_dns_label)
}

fn has_the_form_of_a_dns_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

/// Whether `key` can be a label's key: a name, before which may stand a DNS subdomain and a slash.
pub(super) fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(p, name)| (Some(p), name));
    prefix.is_none_or(is_dns_subdomain) && !name.is_empty() && is_label_value(name)
}

/// Whether `key` is one that the operator sets itself.
pub(super) fn is_the_operators(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return false };
    ["weir.dev", "app.kubernetes.io"].into_iter().any(|own| {
        domain.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// Whether `value` can be a label's value. It may be empty.
pub(super) fn is_label_value(value: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let end = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    value.len() <= 63
        && value.bytes().all(inner)
        && end(value.bytes().next())
        && end(value.bytes().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_name_perhaps_behind_a_domain() {
        for key in ["app", "app.kubernetes.io/name", "a/B_c.d", "1"] {
            assert!(is_label_key(key), "{key}");
        }
        let long = "a".repeat(64);
        for key in ["", "a/", "/a", "a/b/c", "A.b/c", "-a", "a b", &long] {
            assert!(!is_label_key(key), "{key}");
        }
    }

    #[test]
    fn the_operators_own_keys_are_those_of_its_domain_and_those_below() {
        for key in ["weir.dev/pipeline", "pipeline.weir.dev/orders", "app.kubernetes.io/name"] {
            assert!(is_the_operators(key), "{key}");
        }
        for key in ["app", "weir.dev", "tweir.dev/a", "kubernetes.io/os", "a/weir.dev"] {
            assert!(!is_the_operators(key), "{key}");
        }
    }

    #[test]
    fn a_value_may_be_empty_and_is_no_longer_than_63() {
        let (longest, longer) = ("a".repeat(63), "a".repeat(64));
        for value in ["", "v1.2_x", "A", &longest] {
            assert!(is_label_value(value), "{value}");
        }
        for value in ["-a", "a.", "a b", "a/b", &longer] {
            assert!(!is_label_value(value), "{value}");
        }
    }

    #[test]
    fn a_subdomain_is_lower_case_labels_with_dots_between() {
        let (longest, longer) = ("a".repeat(253), "a".repeat(254));
        assert!(is_dns_subdomain("a-1.b") && is_dns_subdomain(&longest));
        assert!(!is_dns_subdomain(&longer));
        for name in ["", "a..b", "A", ".a", "a_b"] {
            assert!(!is_dns_subdomain(name), "{name}");
        }
    }
}
