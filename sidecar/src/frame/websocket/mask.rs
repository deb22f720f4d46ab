//! The masking of a client's payload (RFC 6455, section 5.3).

/// The four bytes with which a client masks a payload, turned to the payload's next byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mask([u8; 4]);

impl Mask {
    pub(super) const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// The mask for what comes behind so many bytes.
    pub(super) fn turned(self, bytes: usize) -> Self {
        let Self(mut key) = self;
        let turned = bytes % key.len();
        key.rotate_left(turned);
        Self(key)
    }

    /// Appends the unmasked `bytes`.
    pub(super) fn unmask(self, bytes: &[u8], out: &mut Vec<u8>) {
        let Self(key) = self;
        let (words, rest) = bytes.as_chunks::<4>();
        out.reserve(bytes.len());
        out.extend(words.iter().flat_map(|[a, b, c, d]| {
            let [k, l, m, n] = key;
            [a ^ k, b ^ l, c ^ m, d ^ n]
        }));
        out.extend(rest.iter().zip(key).map(|(byte, mask)| byte ^ mask));
    }
}
