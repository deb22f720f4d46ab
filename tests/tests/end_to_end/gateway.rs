//! The quick start's manifest on a cluster: applied, published into, subscribed to, measured, changed and
//! deleted.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::Uri;
use serde_json::Value;
use weir_crds::names::port;
use weir_tests::client::http::Connection;
use weir_tests::{Kubectl, Namespace, eventually, with_namespace};

use crate::cable::Cable;
use crate::objects::{UP, await_condition, counts, ready_pods, restrict, show, text};
use crate::publisher::{Publisher, event};
use crate::subscriber::{Subscriber, all_expect};

const QUICKSTART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart.yaml");
const CLOSED: &str = include_str!("../../fixtures/end_to_end/closed.yaml");
const BROKEN: &str = include_str!("../../fixtures/end_to_end/broken.yaml");
const ORPHAN: &str = include_str!("../../fixtures/end_to_end/orphan.yaml");

/// How many events are published.
const EVENTS: u64 = 2_000;

/// Where the cable of one subscriber jams, and where it is cut: what is published between is written to a
/// socket that nobody reads.
const JAM: u64 = 1_000;
const CUT: u64 = 1_200;

/// The counts on a resource may be a minute old, and are read every few seconds.
const COUNTED: Duration = Duration::from_secs(80);

const GATEWAY: &str = "weir.dev/pipeline=orders";
const PIPELINE: (&str, &str) = ("streampipeline", "orders");

pub(crate) async fn story() -> Result<()> {
    with_namespace("gateway", async |orders| {
        let kubectl = &orders.kubectl;
        restrict(&orders).await?;
        is_refused_with_a_reason(kubectl).await?;
        kubectl.apply_path(Path::new(QUICKSTART)).await?;
        await_condition(kubectl, PIPELINE, ("Ready", "True", "Serving"), UP).await?;
        let pods = ready_pods(kubectl, GATEWAY, 1).await?;
        let address = address(kubectl, "orders").await?;

        let pod = pods.first().context("a pod is ready")?;
        let admin = format!("http://{}:{}/metrics", text(pod, "/status/podIP")?, port::ADMIN);

        let (mut everyone, deliveries) = deliver(&address, &admin.parse()?).await?;
        says_what_is_missing(kubectl).await?;
        is_counted(kubectl, deliveries).await?;
        kubectl.wait("streamslo/orders", "condition=Met", COUNTED).await?;
        show(kubectl, &["get", "streampipeline,streamslo"]).await?;
        show(kubectl, &["get", "streampipeline", "--output=wide"]).await?;
        show(kubectl, &["get", "streamslo", "orders", "--output=jsonpath={.status.objectives}"])
            .await?;

        takes_a_change_up(&orders, &mut everyone, &pods).await?;
        drop(everyone);
        leaves_nothing_behind(&orders).await
    })
    .await
}

/// Two subscribers of each kind read everything, one of them in spite of a cut; returns them, and how
/// many deliveries the server must have counted.
async fn deliver(address: &str, metrics: &Uri) -> Result<(Vec<Subscriber>, u64)> {
    let cable = Cable::lay(address.parse()?).await?;
    let [sse, socket] = ["http", "ws"].map(|scheme| format!("{scheme}://{address}/orders"));
    let mut everyone = vec![
        Subscriber::sse(&format!("{sse}/sse")).await?,
        Subscriber::web_socket(&format!("{socket}/ws")).await?,
        Subscriber::web_socket(&format!("{socket}/ws")).await?,
    ];
    let path = format!("http://{}/orders/sse", cable.address());
    let mut unlucky = Subscriber::sse(&path).await?;
    let mut publisher = Publisher::open(&format!("{sse}/events")).await?;

    let publish = async {
        publisher.publish_singly(0..JAM / 2).await?;
        publisher.publish_in_batches(JAM / 2..JAM, 50).await
    };
    tokio::try_join!(publish, all_expect(&mut everyone, 0..JAM), unlucky.expect(0..JAM))?;

    cable.jam();
    publisher.publish_in_batches(JAM..CUT, 10).await?;
    all_expect(&mut everyone, JAM..CUT).await?;
    eventually("the server has written to the jammed cable", UP, async || {
        ensure!(cable.sent() as u64 == CUT, "{} events of {CUT}", cable.sent());
        Ok(())
    })
    .await?;
    let sent = cable.cut().await? as u64;
    lets_go(metrics).await?;

    let publish = publisher.publish_in_batches(CUT..EVENTS, 20);
    tokio::try_join!(publish, all_expect(&mut everyone, CUT..EVENTS), unlucky.expect(JAM..EVENTS))?;
    ensure!(unlucky.connections() == 2, "{} connections", unlucky.connections());
    let unseen = sent - JAM;
    everyone.push(unlucky);
    let seen = everyone.len() as u64 * EVENTS;
    println!(
        "{} subscribers saw {EVENTS} events each, which makes {seen} deliveries. {unseen} more were written \
         to a socket whose subscriber was cut off before it saw them, and written again when it came back.",
        everyone.len()
    );
    Ok((everyone, seen + unseen))
}

/// The server knows that a reader of Server-Sent Events is gone, so that what comes next isn't written to it.
async fn lets_go(metrics: &Uri) -> Result<()> {
    eventually("the server has let go of who was cut off", UP, async || {
        let answer = Connection::open(metrics).await?.get(metrics.path()).await?;
        let text = String::from_utf8_lossy(&answer.body);
        let mut ended = text.lines().filter(|line| {
            line.starts_with("weir_connections_ended_total{") && line.contains("transport=\"sse\"")
        });
        ensure!(ended.any(|line| !line.ends_with(" 0")), "none has ended");
        Ok(())
    })
    .await
}

/// The counts on the StreamSLO are, to the last one, those of the deliveries.
async fn is_counted(kubectl: &Kubectl, deliveries: u64) -> Result<()> {
    let slo = eventually("the StreamSLO has the counts of its subscribers", COUNTED, async || {
        let slo = kubectl.get("streamslo", "orders").await?;
        let every = by_event(&slo);
        ensure!(!every.is_empty(), "no objective counts events: {}", slo["spec"]["objectives"]);
        for name in every {
            let found = counts(&slo, name);
            ensure!(found.is_some_and(|(_, total)| total == deliveries), "{name}: {found:?}");
        }
        Ok(slo)
    })
    .await?;
    for objective in slo["spec"]["objectives"].as_array().into_iter().flatten() {
        let (name, strict) = (text(objective, "/name")?, objective.get("latency").is_none());
        let (good, total) = counts(&slo, name).context("it was there")?;
        ensure!(!strict || good == total, "{name}: {good} of {total}");
    }
    Ok(())
}

/// The objectives that count events, and not slices of time.
fn by_event(slo: &Value) -> Vec<&str> {
    let objectives = slo["spec"]["objectives"].as_array().into_iter().flatten();
    let by_event = objectives.filter(|objective| {
        objective.get("timeSlice").is_none() && objective.pointer("/latency/quantile").is_none()
    });
    by_event.filter_map(|objective| objective["name"].as_str()).collect()
}

/// The address of a pipeline's Service.
async fn address(kubectl: &Kubectl, pipeline: &str) -> Result<String> {
    let service = kubectl.get("service", pipeline).await?;
    let port = &service["spec"]["ports"][0]["port"];
    Ok(format!("{}:{port}", text(&service, "/spec/clusterIP")?))
}

/// What a user gets wrong is refused when it is applied, in words that name the field and the remedy.
async fn is_refused_with_a_reason(kubectl: &Kubectl) -> Result<()> {
    let refused = kubectl.apply(BROKEN, &[]).await?;
    ensure!(!refused.success, "a broken manifest was taken: {}", refused.stdout);
    for words in ["spec.placement: ", "set exactly one of sidecar and gateway"] {
        ensure!(refused.stderr.contains(words), "{words:?} is not in: {}", refused.stderr);
    }
    println!("$ kubectl apply -f broken.yaml\n{}", refused.stderr);
    Ok(())
}

/// A pipeline that does not open its public port refuses publishers; an SLO without a pipeline says so.
async fn says_what_is_missing(kubectl: &Kubectl) -> Result<()> {
    kubectl.apply(CLOSED, &[]).await?.into_success(&["apply"])?;
    kubectl.apply(ORPHAN, &[]).await?.into_success(&["apply"])?;
    let wanted = ("Ready", "True", "Serving");
    await_condition(kubectl, ("streampipeline", "closed"), wanted, UP).await?;
    let url = format!("http://{}/closed/events", address(kubectl, "closed").await?);
    let answer = Publisher::open(&url).await?.post("application/json", event(0)).await?;
    let body = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 403 && body.contains("spec.endpoints.publish"), "{body}");
    let wanted = ("Ready", "False", "PipelineNotFound");
    let message = await_condition(kubectl, ("streamslo", "orphan"), wanted, UP).await?;
    ensure!(message.contains("nowhere"), "the pipeline is not named: {message}");
    Ok(())
}

/// A change of the manifest reaches those who are connected, by the same pods, which do not restart.
async fn takes_a_change_up(
    orders: &Namespace,
    everyone: &mut [Subscriber],
    pods: &[Value],
) -> Result<()> {
    let kubectl = &orders.kubectl;
    let before: Vec<_> = everyone.iter().map(Subscriber::connections).collect();
    let change = r#"{"spec": {"endpoints": {"sse": {"heartbeat": "1s"}}}}"#;
    let arguments = ["patch", PIPELINE.0, PIPELINE.1, "--type=merge", "--patch", change];
    kubectl.succeed(&arguments).await?;
    eventually("every replica runs the newest generation", UP, async || {
        let pipeline = kubectl.get(PIPELINE.0, PIPELINE.1).await?;
        let status = &pipeline["status"];
        let current = status["observedGeneration"] == pipeline["metadata"]["generation"];
        ensure!(current && status["replicas"]["outdated"] == 0, "{status}");
        Ok(())
    })
    .await?;
    let comments = everyone[0].comments();
    everyone[0].expect_nothing(Duration::from_secs(4)).await?;
    let beats = everyone[0].comments() - comments;
    ensure!(beats >= 2, "{beats} heartbeats in 4 s, where one a second was asked for");
    let after: Vec<_> = everyone.iter().map(Subscriber::connections).collect();
    ensure!(before == after, "connections: {before:?} before, {after:?} after");
    let names = |pods: &[Value]| -> Vec<Value> {
        pods.iter().map(|pod| pod["metadata"]["name"].clone()).collect()
    };
    let now = ready_pods(kubectl, GATEWAY, 1).await?;
    ensure!(names(pods) == names(&now), "{:?} became {:?}", names(pods), names(&now));
    let restarts = &now[0]["status"]["containerStatuses"][0]["restartCount"];
    ensure!(*restarts == 0, "{restarts} restarts");
    Ok(())
}

/// With the pipeline goes everything that was made for it, and its SLO says that it is gone.
async fn leaves_nothing_behind(orders: &Namespace) -> Result<()> {
    let kubectl = &orders.kubectl;
    let kinds = "configmaps,services,deployments,replicasets,pods,endpointslices";
    let selector = format!("--selector={GATEWAY}");
    let made = ["get", kinds, &selector, "--output=name"];
    ensure!(kubectl.succeed(&made).await?.lines().count() >= 4, "the selector selects nothing");
    kubectl.succeed(&["delete", PIPELINE.0, PIPELINE.1]).await?;
    eventually("nothing of the pipeline is left", UP, async || {
        let left = kubectl.succeed(&made).await?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
    .await?;
    let wanted = ("Ready", "False", "PipelineNotFound");
    await_condition(kubectl, ("streamslo", "orders"), wanted, UP).await.map(drop)
}
