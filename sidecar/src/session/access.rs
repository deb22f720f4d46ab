//! What a session may reach, besides the pipeline of its URL.

use std::sync::Arc;

use super::reply::Failure;
use crate::{
    auth::Visitor,
    count::retry_soon_ms,
    hub::Client,
    memory::{Budget, Memory},
    pipeline::Pipeline,
    registry::Registry,
};

/// What a session may reach.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where pipelines are found.
    pub registry: Arc<Registry>,
    /// Whether nobody on the way can read the connection.
    pub secure: bool,
    /// Who opened it, whom each pipeline judges by its own terms.
    pub visitor: Arc<Visitor>,
    /// Whose filters those of its subscriptions are.
    pub client: Client,
    /// Says whom there is memory for.
    pub memory: Memory,
    /// Bounds what sessions keep for their clients.
    pub messages: Budget,
}

/// Why a session may not reach a pipeline.
#[derive(Debug)]
pub(super) struct OutOfReach {
    pub(super) code: &'static str,
    pub(super) message: String,
    /// After how many milliseconds another try may succeed; none where it would not.
    pub(super) retry_ms: Option<u64>,
}

impl OutOfReach {
    /// The failure of a request of this kind and id.
    pub(super) fn failure(self, of: &'static str, id: &str) -> Failure {
        let Self { code, message, retry_ms } = self;
        Failure { retry_ms, ..Failure::new(of, id, code, &message) }
    }
}

impl Access {
    /// A pipeline that a request names.
    pub(super) fn pipeline(&self, name: &str) -> Result<Arc<Pipeline>, OutOfReach> {
        let refuse = |code, message| Err(OutOfReach { code, message, retry_ms: None });
        match self.registry.get(name) {
            None if self.registry.refused().is_some() => Err(OutOfReach {
                code: "configuration_refused",
                message: format!(
                    "there is no pipeline {name} here yet: a configuration that may hold it was refused"
                ),
                retry_ms: Some(retry_soon_ms()),
            }),
            None => refuse("unknown_pipeline", format!("there is no pipeline {name} here")),
            Some(pipeline) if pipeline.hub().settings().tls && !self.secure => refuse(
                "plain_text",
                format!("{name} is served over TLS only: connect by wss:// on this port"),
            ),
            Some(pipeline) => Ok(pipeline),
        }
    }
}
