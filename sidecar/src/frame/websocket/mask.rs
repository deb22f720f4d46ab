//! The masking of a client's payload (RFC 6455, section 5.3).

/// The four bytes with which a client masks a payload, turned to the payload's next byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mask([u8; 4]);

impl Mask {
    pub(super) const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// Appends the unmasked `bytes`, and turns the mask behind them.
    pub(super) fn unmask(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let Self(key) = self;
        out.extend(bytes.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        let turned = bytes.len() % key.len();
        key.rotate_left(turned);
    }
}
