//! Checks where a shared log is.

use super::{Violations, secret::check_secret_key};
use crate::v1alpha1::{NatsStorage, RedisStorage, SecretKey};

const ADDRESS: &str = "must be HOST:PORT, such as redis:6379";

pub(super) fn check_redis(found: &mut Violations, redis: &RedisStorage) {
    let RedisStorage { address, key_prefix, username, password } = redis;
    let field = "spec.log.storage.redis";
    found.require(is_host_and_port(address), format!("{field}.address"), ADDRESS);
    found.name(&format!("{field}.keyPrefix"), key_prefix, [""; 0].into_iter());
    check_login(found, field, username.as_deref(), password.as_ref());
}

pub(super) fn check_nats(found: &mut Violations, nats: &NatsStorage) {
    let NatsStorage { address, stream, replicas, username, password } = nats;
    let field = "spec.log.storage.natsJetStream";
    found.require(is_host_and_port(address), format!("{field}.address"), ADDRESS);
    if let Some(stream) = stream {
        found.name(&format!("{field}.stream"), stream, [""; 0].into_iter());
    }
    found.range(format!("{field}.replicas"), *replicas, 1, 5);
    check_login(found, field, username.as_deref(), password.as_ref());
}

fn check_login(
    found: &mut Violations,
    field: &str,
    username: Option<&str>,
    password: Option<&SecretKey>,
) {
    let field_of_password = format!("{field}.password");
    if let Some(username) = username {
        found.length(format!("{field}.username"), username, 128);
        found.require(password.is_some(), &field_of_password, "must be set beside username");
    }
    if let Some(password) = password {
        check_secret_key(found, &field_of_password, password);
    }
}

/// A name or an address, in brackets where it has colons, and a port.
fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let inner = |b: u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => !address.is_empty() && address.bytes().all(inner),
        None => !host.is_empty() && host.bytes().all(plain),
    };
    let digits = port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    host && digits && port.parse::<u16>().is_ok_and(|port| port > 0) && address.len() <= 260
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for address in ["redis:6379", "a.b-c_d.svc:1", "127.0.0.1:65535", "[::1]:80"] {
            assert!(is_host_and_port(address), "{address}");
        }
        let long = format!("{}:1", "a".repeat(259));
        for address in [
            "",
            "redis",
            ":1",
            "redis:",
            "redis:0",
            "redis:65536",
            "redis:+1",
            "a b:1",
            "::1:80",
            "[]:1",
            &long,
        ] {
            assert!(!is_host_and_port(address), "{address}");
        }
    }
}
