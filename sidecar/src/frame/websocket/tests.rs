//! Frames as they stand on the wire.
