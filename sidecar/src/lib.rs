//! The data plane of Weir: it turns an application's events into streams that resume.

pub mod config;
pub mod event;
pub mod frame;
pub mod intake;
pub mod status;
