//! Runs elections in virtual time, with a store that delays, fails and cuts candidates off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use parking_lot::Mutex;

use super::*;

/// The API server: one lease, compared and swapped by its version.
#[derive(Default)]
struct Server {
    lease: Mutex<Option<(u64, LeaseSpec)>>,
}

/// One candidate's way to the server.
#[derive(Clone)]
struct Link {
    server: Arc<Server>,
    cut: Arc<AtomicBool>,
    delay: Duration,
}

impl Link {
    fn to(server: &Arc<Server>) -> Self {
        Self { server: Arc::clone(server), cut: Arc::default(), delay: Duration::ZERO }
    }

    /// On its way a request may take long, and may never come back.
    async fn travel(&self) {
        sleep(self.delay).await;
        if self.cut.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    fn swap(&self, version: Option<u64>, spec: LeaseSpec) -> Result<(), StoreError> {
        let mut lease = self.server.lease.lock();
        let stands = lease.as_ref().map(|(version, _)| *version);
        if stands != version {
            return Err(StoreError::Conflict);
        }
        *lease = Some((stands.unwrap_or(0) + 1, spec));
        Ok(())
    }
}

impl LeaseStore for Link {
    async fn get(&self) -> Result<Option<Lease>, StoreError> {
        self.travel().await;
        let found = self.server.lease.lock().clone();
        Ok(found.map(|(version, spec)| {
            let mut lease = Lease { spec: Some(spec), ..Lease::default() };
            lease.metadata.resource_version = Some(version.to_string());
            lease
        }))
    }

    async fn create(&self, spec: LeaseSpec) -> Result<(), StoreError> {
        self.travel().await;
        self.swap(None, spec)
    }

    async fn replace(&self, read: Lease, spec: LeaseSpec) -> Result<(), StoreError> {
        self.travel().await;
        self.swap(read.metadata.resource_version.unwrap().parse().ok(), spec)
    }
}

fn elector(link: Link, name: &str) -> Elector<Link> {
    Elector::new(link, name.to_owned(), Timing::default())
}

fn never() -> CancellationToken {
    CancellationToken::new()
}

#[tokio::test(start_paused = true)]
async fn the_first_candidate_leads_at_once_and_the_second_only_after_the_lease() {
    let server = Arc::default();
    let first = Link::to(&server);
    assert!(elector(first, "first").acquire(&never()).await);
    let started = Instant::now();
    assert!(elector(Link::to(&server), "second").acquire(&never()).await);
    let waited = started.elapsed();
    assert!((15..19).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_within_a_retry() {
    let server = Arc::default();
    let mut first = elector(Link::to(&server), "first");
    assert!(first.acquire(&never()).await);
    let stop = never();
    stop.cancel();
    assert_eq!(first.hold(&stop).await, Ok(()));
    first.release().await;
    let started = Instant::now();
    assert!(elector(Link::to(&server), "second").acquire(&never()).await);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_gives_up_before_its_lease_expires() {
    let server = Arc::default();
    let link = Link::to(&server);
    let mut leader = elector(link.clone(), "leader");
    assert!(leader.acquire(&never()).await);
    link.cut.store(true, Ordering::SeqCst);
    let started = Instant::now();
    assert_eq!(leader.hold(&never()).await, Err(Lost));
    let held = started.elapsed();
    assert!((9..=10).contains(&held.as_secs()), "{held:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_another_took_gives_up_at_once() {
    let server: Arc<Server> = Arc::default();
    let mut leader = elector(Link::to(&server), "leader");
    assert!(leader.acquire(&never()).await);
    let thief = LeaseSpec { holder_identity: Some("thief".into()), ..LeaseSpec::default() };
    *server.lease.lock() = Some((99, thief));
    let started = Instant::now();
    assert_eq!(leader.hold(&never()).await, Err(Lost));
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_candidate_does_not_acquire() {
    let stop = never();
    stop.cancel();
    assert!(!elector(Link::to(&Arc::default()), "late").acquire(&stop).await);
}

/// Leads for a while again and again, and counts how many lead at the same time.
async fn campaign(link: Link, name: String, leading: Arc<AtomicI32>, terms: Arc<AtomicI32>) {
    loop {
        let mut elector = elector(link.clone(), &name);
        if !elector.acquire(&never()).await {
            return;
        }
        assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0, "two lead at the same time");
        terms.fetch_add(1, Ordering::SeqCst);
        let stop = never();
        let term = Duration::from_secs(fastrand::u64(1..90));
        let resignation = stop.clone();
        let clock = tokio::spawn(async move {
            sleep(term).await;
            resignation.cancel();
        });
        let held = elector.hold(&stop).await;
        leading.fetch_sub(1, Ordering::SeqCst);
        clock.abort();
        if held.is_ok() {
            elector.release().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn never_do_two_lead_whatever_the_network_does() {
    for seed in 0..20 {
        fastrand::seed(seed);
        let server: Arc<Server> = Arc::default();
        let (leading, terms): (Arc<AtomicI32>, Arc<AtomicI32>) = Default::default();
        let mut links = Vec::new();
        let mut campaigns = tokio::task::JoinSet::new();
        for index in 0..3 {
            let mut link = Link::to(&server);
            link.delay = Duration::from_millis(fastrand::u64(0..4_000));
            links.push(link.clone());
            campaigns.spawn(campaign(
                link,
                format!("candidate-{index}"),
                Arc::clone(&leading),
                Arc::clone(&terms),
            ));
        }
        for _ in 0..60 {
            sleep(Duration::from_secs(fastrand::u64(1..20))).await;
            let link = &links[fastrand::usize(..links.len())];
            link.cut.fetch_xor(true, Ordering::SeqCst);
        }
        assert!(campaigns.try_join_next().is_none(), "a campaign ended");
        assert!(terms.load(Ordering::SeqCst) > 2, "hardly anybody led");
    }
}
