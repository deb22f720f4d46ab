//! A server without sockets, which targets share the making of.

use std::{fs, path::Path, sync::Arc};

use tokio::runtime::{Builder, Runtime};
use weir_sidecar::{
    config, engine::Engine, log::DataDir, pipeline::storage::Keeper, registry::Registry,
};

/// What is served, and what that takes.
pub(super) struct Server {
    pub(super) runtime: Runtime,
    pub(super) registry: Arc<Registry>,
    _engine: Engine,
}

impl Server {
    /// Serves these manifests.
    pub(super) fn start(manifests: &str) -> Self {
        let runtime =
            Builder::new_current_thread().enable_all().build().expect("there is a runtime");
        let inside = runtime.enter();
        let engine = Engine::start(1).expect("a shard starts");
        let secrets = Path::new("/nonexistent");
        let keeper = Keeper::new(DataDir::default(), secrets);
        let registry = Arc::new(Registry::new(engine.wakers(), keeper, secrets));
        let folder = tempfile::tempdir().expect("a folder can be made");
        let manifest = folder.path().join("manifest.yaml");
        fs::write(&manifest, manifests).expect("a file can be written");
        registry.apply(config::load(&[manifest]).expect("the manifests are valid"));
        drop(inside);
        Self { runtime, registry, _engine: engine }
    }
}
