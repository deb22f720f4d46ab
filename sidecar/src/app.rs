//! Wires the stages together: binds, serves, drains, stops.

mod listeners;

use std::{io, num::NonZero, path::Path, sync::Arc, thread, time::Duration};

use tokio::{
    net::{TcpListener, UnixListener},
    time,
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};
use weir_crds::names::SECRETS_DIR;

pub use listeners::{BindError, Listeners};

use crate::{
    admin::{self, Admin, Process},
    config::{Config, ConfigErrors},
    count::Refusals,
    edge::{
        Arrivals, Door, Service, Slots, Tls,
        accept::{Acceptor, Routes, waiting},
        routes,
    },
    engine::Engine,
    log::DataDir,
    memory::{Budget, Budgets, Memory},
    pipeline::storage::Keeper,
    registry::Registry,
    share::Shares,
    upkeep,
};

/// The most shards: beyond this, a shard has too little to do to be worth its thread.
const MOST_SHARDS: usize = 8;

/// A running data plane.
#[derive(Debug)]
pub struct App {
    registry: Arc<Registry>,
    tls: Tls,
    arrivals: Arrivals,
    slots: Slots,
    shares: Shares,
    engine: Arc<Engine>,
    admin: Arc<Admin>,
    tasks: TaskTracker,
    /// Cancelled when it is known what is served: from then on connections are taken.
    opened: CancellationToken,
    /// Cancelled when the process ends: no more requests are taken.
    stopping: CancellationToken,
    _upkeep: [AbortOnDropHandle<()>; 4],
}

impl App {
    /// Serves on bound listeners, without a place for logs on a disk; see [`Self::start_in`].
    ///
    /// # Errors
    ///
    /// Fails when the system grants no epoll instance or no thread.
    pub fn start(listeners: Listeners) -> io::Result<Self> {
        Self::start_in(listeners, DataDir::default())
    }

    /// Serves on bound listeners, and keeps logs in `data`; the Secrets that manifests name are in
    /// [`SECRETS_DIR`], and memory has no bound.
    ///
    /// # Errors
    ///
    /// Fails when the system grants no epoll instance or no thread.
    pub fn start_in(listeners: Listeners, data: DataDir) -> io::Result<Self> {
        Self::start_with(listeners, data, Path::new(SECRETS_DIR), Memory::unbounded())
    }

    /// Serves on bound listeners, keeps logs in `data`, finds the Secrets that manifests name in `secrets`,
    /// and lets subscribers in as `memory` allows. Until [`Self::apply`] or [`Self::refuse`] says what is served,
    /// nobody but a probe is let in: whoever comes waits, and is not told that there is nothing.
    ///
    /// # Errors
    ///
    /// Fails when the system grants no epoll instance or no thread.
    pub fn start_with(
        listeners: Listeners,
        data: DataDir,
        secrets: &Path,
        memory: Memory,
    ) -> io::Result<Self> {
        let engine = Arc::new(Engine::start(shards())?);
        let tls = Tls::new(secrets)?;
        let keeper = Keeper::new(data, secrets);
        let registry = Arc::new(Registry::new(engine.wakers(), keeper, secrets));
        let [draining, stopping, opened] = [(); 3].map(|()| CancellationToken::new());
        let arrivals = Arrivals::default();
        let unrouted = Arc::<Refusals>::default();
        let process = Process::new(arrivals.clone(), memory.clone(), Arc::clone(&unrouted));
        let (shown, driven) = (Arc::clone(&registry), Arc::clone(&engine));
        let admin = Arc::new(Admin::new(shown, driven, draining.clone(), tls.clone(), process));
        let tasks = TaskTracker::new();
        let service = Service {
            registry: Arc::clone(&registry),
            draining: draining.clone(),
            stopping: stopping.clone(),
            waiting: waiting(),
            memory: memory.clone(),
            budgets: Budgets::of(memory.reading().limit),
            unrouted,
        };
        let heads = Budgets::of(memory.reading().limit).heads;
        let acceptor = acceptor(&engine, &tasks, &stopping, heads, &service.unrouted);
        let Listeners { public, admin: probes, publish, publish_socket } = listeners;
        // Memory of its own, so that nobody on the public port keeps the application from publishing.
        let budgets = Budgets::of(memory.reading().limit);
        let application = routes(&Service { budgets, ..service.clone() }, Door::Application);
        let serving = serve_application(acceptor.clone(), application, publish, publish_socket);
        tasks.spawn(behind([opened.clone(), stopping.clone()], serving));
        // Slots of their own, so that no storm of subscribers keeps the application or a probe out.
        let slots = Slots::default();
        let subscribers = Acceptor {
            slots: slots.clone(),
            heads: service.budgets.heads.clone(),
            draining,
            arrivals: arrivals.clone(),
            tls: Some(tls.clone()),
            ..acceptor.clone()
        };
        let serving = subscribers.serve_tcp(public, routes(&service, Door::Public));
        tasks.spawn(behind([opened.clone(), stopping.clone()], serving));
        let acceptor = Acceptor { slots: Slots::default(), ..acceptor };
        tasks.spawn(acceptor.serve_tcp(probes, admin::routes(&admin)));
        let upkeep = keep_up(&registry, &tls, memory);
        Ok(Self {
            registry,
            tls,
            arrivals,
            slots,
            shares: Shares::default(),
            engine,
            admin,
            tasks,
            opened,
            stopping,
            _upkeep: upkeep,
        })
    }

    /// Serves what `config` says, from now on.
    pub fn apply(&self, config: Config) {
        self.registry.apply(config);
        self.tls.refresh(&self.registry);
        self.arrivals.refresh(&self.registry);
        self.slots.refresh(&self.registry);
        self.shares.refresh(&self.registry);
        self.admin.set_applied();
        self.open();
    }

    /// Goes on with what is served, nothing where nothing was yet, and tells whoever asks for something else that
    /// a configuration was refused.
    pub fn refuse(&self, errors: &ConfigErrors) {
        self.registry.refuse(errors);
        self.open();
    }

    fn open(&self) {
        self.admin.set_ready();
        self.opened.cancel();
    }

    /// What is being served.
    #[must_use]
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Sends the subscribers away, spread over their pipelines' drain windows; returns when they are gone, and after
    /// `most` in any case. Publishers are still served.
    pub async fn drain(&self, most: Duration) {
        self.admin.drain(most).await;
    }

    /// Whether subscribers are being sent away, or were.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.admin.is_draining()
    }

    /// Answers the requests that have begun, sends the last subscribers away, closes the logs, and ends.
    pub async fn stop(self) {
        self.stop_within(Duration::MAX).await;
    }

    /// The same, but waits no longer than `most` for requests that have begun.
    pub async fn stop_within(self, most: Duration) {
        self.stopping.cancel();
        self.tasks.close();
        // At the same time: a connection of HTTP/2 ends after its last stream.
        self.engine.lane().stop();
        let answered = async {
            self.tasks.wait().await;
            self.engine.lane().stopped().await;
        };
        if time::timeout(most, answered).await.is_err() {
            tracing::warn!("requests were left when the process had to end");
        }
        let engine = Arc::clone(&self.engine);
        // Joining threads blocks.
        if tokio::task::spawn_blocking(move || engine.stop()).await.is_err() {
            tracing::error!("the engine could not be stopped");
        }
        self.registry.close().await;
    }
}

/// Accepts on the ports that are not the public one.
fn acceptor(
    engine: &Arc<Engine>,
    tasks: &TaskTracker,
    stopping: &CancellationToken,
    heads: Budget,
    unrouted: &Arc<Refusals>,
) -> Acceptor {
    Acceptor {
        engine: Arc::clone(engine),
        slots: Slots::default(),
        heads,
        tasks: tasks.clone(),
        // Nobody but subscribers is sent away.
        draining: CancellationToken::new(),
        arrivals: Arrivals::default(),
        unrouted: Arc::clone(unrouted),
        tls: None,
        stopping: stopping.clone(),
    }
}

fn shards() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(MOST_SHARDS)
}

/// Serves what the application publishes, by its port and, where there is one, by its socket.
async fn serve_application(
    acceptor: Acceptor,
    routes: Routes,
    port: TcpListener,
    socket: Option<UnixListener>,
) {
    let by_socket = async {
        if let Some(socket) = socket {
            acceptor.clone().serve_unix(socket, routes.clone()).await;
        }
    };
    tokio::join!(by_socket, acceptor.clone().serve_tcp(port, routes.clone()));
}

/// Serves once it is open, unless the process ends before.
async fn behind([opened, stopping]: [CancellationToken; 2], serving: impl Future<Output = ()>) {
    tokio::select! {
        () = opened.cancelled() => serving.await,
        () = stopping.cancelled() => {}
    }
}

/// Starts what is due with time.
fn keep_up(registry: &Arc<Registry>, tls: &Tls, memory: Memory) -> [AbortOnDropHandle<()>; 4] {
    let tasks = [
        tokio::spawn(upkeep::expire(Arc::clone(registry))),
        tokio::spawn(upkeep::snapshot(Arc::clone(registry))),
        tokio::spawn(upkeep::certificates(Arc::clone(registry), tls.clone())),
        tokio::spawn(upkeep::memory(memory)),
    ];
    tasks.map(AbortOnDropHandle::new)
}
