//! Checks where a shared log is.

use super::Violations;
use crate::v1alpha1::{NatsStorage, RedisStorage};

const ADDRESS: &str = "must be HOST:PORT, such as redis:6379";

pub(super) fn check_redis(found: &mut Violations, redis: &RedisStorage) {
    let RedisStorage { address, key_prefix } = redis;
    let field = "spec.log.storage.redis";
    found.require(is_host_and_port(address), format!("{field}.address"), ADDRESS);
    found.name(&format!("{field}.keyPrefix"), key_prefix, [""; 0].into_iter());
}

pub(super) fn check_nats(found: &mut Violations, nats: &NatsStorage) {
    let NatsStorage { address, stream, replicas } = nats;
    let field = "spec.log.storage.natsJetStream";
    found.require(is_host_and_port(address), format!("{field}.address"), ADDRESS);
    if let Some(stream) = stream {
        found.name(&format!("{field}.stream"), stream, [""; 0].into_iter());
    }
    found.range(format!("{field}.replicas"), *replicas, 1, 5);
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
