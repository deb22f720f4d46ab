//! Writes the pipelines' counters as OpenMetrics, merged from the shards at each scrape.

mod certificates;
pub(super) mod exemplars;
mod process;

use std::{fmt, ops::Deref, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::{
    count::{
        Accounts, BOUNDS_MICROS, Cut, EndReason, Histogram, HistogramReading, SIZES, Transport,
        TurnedAway,
    },
    durable::Streams,
    filter::Failure,
    pipeline::Pipeline,
    registry::Registry,
};

pub(super) use certificates::Certificates;
pub use process::Process;

/// The histogram of the time that deliveries take.
const LATENCY: &str = "weir_delivery_latency_seconds";

/// Collects what is counted for every pipeline.
#[derive(Debug)]
pub(super) struct Pipelines {
    registry: Arc<Registry>,
}

/// A pipeline, and what became of its deliveries at one instant of the scrape, so that the books balance in
/// what is answered.
struct Scraped {
    pipeline: Arc<Pipeline>,
    cut: Cut,
}

impl Scraped {
    fn of(pipeline: &Arc<Pipeline>) -> Self {
        Self { pipeline: Arc::clone(pipeline), cut: pipeline.hub().cut() }
    }
}

impl Deref for Scraped {
    type Target = Pipeline;

    fn deref(&self) -> &Pipeline {
        &self.pipeline
    }
}

type Labels<'a> = [(&'a str, &'a str)];

/// One kind of metric: its name, its help, and how its values are read off a pipeline.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    /// Calls back with the labels beside `pipeline`, and the value.
    read: fn(&Scraped, &mut Write<'_>) -> fmt::Result,
}

/// What a value is.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Only grows; OpenMetrics appends `_total` to its name.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Kind {
    const fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
        }
    }
}

type Write<'a> = dyn FnMut(&Labels<'_>, u64) -> fmt::Result + 'a;

impl Pipelines {
    pub(super) const fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

impl Collector for Pipelines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let pipelines = self.registry.all();
        let pipelines = pipelines.iter().map(|(name, pipeline)| (name, Scraped::of(pipeline)));
        let pipelines: Vec<_> = pipelines.collect();
        let mut build = encoder.encode_descriptor(
            "weir_build",
            "The running version.",
            None,
            MetricType::Info,
        )?;
        build.encode_info(&[("version", self.registry.instance().version.as_str())])?;
        let mut loaded = encoder.encode_descriptor(
            "weir_config_last_load_successful",
            "Whether the configuration that the process was given last is in force; 0 where it was refused, and the one before stays.",
            None,
            MetricType::Gauge,
        )?;
        loaded.encode_gauge(&u64::from(self.registry.refused().is_none()))?;
        for Family { name, help, kind, read } in FAMILIES {
            let mut metric = encoder.encode_descriptor(name, help, None, kind.metric_type())?;
            for (pipeline, served) in &pipelines {
                read(served, &mut |labels, value| {
                    let labels = [&[("pipeline", pipeline.as_str())], labels].concat();
                    let mut metric = metric.encode_family(&labels)?;
                    match kind {
                        Kind::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
                        Kind::Gauge => metric.encode_gauge(&value),
                    }
                })?;
            }
        }
        for Histograms { name, help, read } in HISTOGRAMS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (pipeline, served) in &pipelines {
                let labels = [("pipeline", pipeline.as_str())];
                let Buckets { counts, sum } = read(served.hub().accounts());
                let all = counts.iter().map(|(_, count)| count).sum();
                let mut metric = metric.encode_family(&labels)?;
                metric.encode_histogram::<NoLabelSet>(sum, all, &counts, None)?;
            }
        }
        Ok(())
    }
}

/// Everything that is counted, in the order in which it happens to an event.
const FAMILIES: &[Family] = &[
    Family {
        name: "weir_source_events_accepted",
        help: "Events that the log has taken, by source.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let samples = pipeline.sources().map(|source| source.sample());
            samples.into_iter().try_for_each(|s| write(&[("source", &s.name)], s.accepted))
        },
    },
    Family {
        name: "weir_source_requests_rejected",
        help: "Publishes that were refused whole, by source.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let samples = pipeline.sources().map(|source| source.sample());
            samples.into_iter().try_for_each(|s| write(&[("source", &s.name)], s.rejected))
        },
    },
    Family {
        name: "weir_source_healthy",
        help: "Whether the source can deliver: 1 or 0.",
        kind: Kind::Gauge,
        read: |pipeline, write| {
            let samples = pipeline.sources().map(|source| source.sample());
            samples.into_iter().try_for_each(|s| write(&[("source", &s.name)], s.healthy.into()))
        },
    },
    Family {
        name: "weir_log_healthy",
        help: "Whether the log is open and takes events: 1 or 0.",
        kind: Kind::Gauge,
        read: |pipeline, write| {
            let hub = pipeline.hub();
            write(&[], (hub.log().is_some() && hub.fault().is_none()).into())
        },
    },
    Family {
        name: "weir_log_events",
        help: "Events that the log holds.",
        kind: Kind::Gauge,
        read: |pipeline, write| write(&[], pipeline.hub().held().events),
    },
    Family {
        name: "weir_log_bytes",
        help: "Bytes of events that the log holds.",
        kind: Kind::Gauge,
        read: |pipeline, write| write(&[], pipeline.hub().held().bytes),
    },
    Family {
        name: "weir_log_events_evicted",
        help: "Events that have left the log, by reason; of a log that replicas share, each counts what it has seen leave.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let mut evictions = pipeline.hub().accounts().log.evictions();
            evictions.try_for_each(|(why, events)| write(&[("reason", why.name())], events))
        },
    },
    Family {
        name: "weir_log_reads_failed",
        help: "Reads of what is older than the memory holds that failed. They are tried again; what is damaged is put aside, and told by a gap.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.hub().accounts().log.unreadable.get()),
    },
    Family {
        name: "weir_subscribers",
        help: "Connected subscribers, by transport; of weir.v1 each subscription.",
        kind: Kind::Gauge,
        read: |pipeline, write| {
            let subscribers = pipeline.hub().accounts().subscribers();
            write(&[("transport", Transport::Sse.label())], subscribers.sse)?;
            write(&[("transport", Transport::WebSocket.label())], subscribers.websocket)
        },
    },
    Family {
        name: "weir_connections_refused",
        help: "Subscribers that were turned away, or sent away for what they did, by transport and reason.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let turned_away = &pipeline.hub().accounts().turned_away;
            let pairs = Transport::ALL.into_iter().flat_map(|transport| {
                TurnedAway::ALL.into_iter().map(move |reason| (transport, reason))
            });
            pairs.into_iter().try_for_each(|(transport, reason)| {
                let labels = [("transport", transport.label()), ("reason", reason.name())];
                write(&labels, turned_away.get(transport, reason))
            })
        },
    },
    Family {
        name: "weir_connections_ended",
        help: "Connections of subscribers that have ended, by transport and reason; of weir.v1 each subscription, as in weir_subscribers.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let ended = &pipeline.hub().accounts().ended;
            let pairs = Transport::ALL.into_iter().flat_map(|transport| {
                EndReason::ALL.into_iter().map(move |reason| (transport, reason))
            });
            pairs.into_iter().try_for_each(|(transport, reason)| {
                let labels = [("transport", transport.label()), ("reason", reason.name())];
                write(&labels, ended.get(transport, reason))
            })
        },
    },
    Family {
        name: "weir_readers_waiting",
        help: "Requests that wait for what is not there yet: for a page, or at a durable stream.",
        kind: Kind::Gauge,
        read: |pipeline, write| write(&[], pipeline.hub().accounts().waiting()),
    },
    Family {
        name: "weir_requests_refused",
        help: "Requests that were answered by a problem, or over weir.v1 by a failure, by reason: the last word of its type, or its code.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let counts = pipeline.hub().accounts().refused.all();
            counts.into_iter().try_for_each(|(reason, count)| write(&[("reason", reason)], count))
        },
    },
    Family {
        name: "weir_websocket_breaches",
        help: "WebSockets that were closed because the client broke the protocol, by close code and reason.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let mut breaches = pipeline.hub().accounts().breaches.all();
            breaches.try_for_each(|(code, reason, count)| {
                write(&[("code", &code.to_string()), ("reason", reason)], count)
            })
        },
    },
    Family {
        name: "weir_filters",
        help: "Different filters that subscribers have.",
        kind: Kind::Gauge,
        read: |pipeline, write| write(&[], pipeline.hub().filters() as u64),
    },
    Family {
        name: "weir_filters_refused",
        help: "Subscribers refused because their filter can't be used, or is one too many, by reason.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let mut counts = pipeline.hub().accounts().filters_refused.all();
            counts.try_for_each(|(reason, count)| write(&[("reason", reason)], count))
        },
    },
    Family {
        name: "weir_filter_evaluations",
        help: "Evaluations of filters: one for each event and filter.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.hub().accounts().evaluations.get()),
    },
    Family {
        name: "weir_filter_failures",
        help: "Evaluations that failed, so that the event doesn't match, by reason.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let accounts = pipeline.hub().accounts();
            let failures = Failure::ALL.into_iter().zip(&accounts.failures);
            failures
                .into_iter()
                .try_for_each(|(failure, count)| write(&[("reason", failure.name())], count.get()))
        },
    },
    Family {
        name: "weir_publishes_held_up",
        help: "Publishes refused after a wait because a subscriber didn't keep up, where spec.delivery.slowConsumer is Block.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.hub().accounts().held_up.get()),
    },
    Family {
        name: "weir_connections_cut_off",
        help: "Connections cut off because the subscriber fell behind by more than spec.delivery.maxLag.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.hub().accounts().cut_off.get()),
    },
    Family {
        name: "weir_events_accepted",
        help: "Events that this replica has seen the log take, from whichever source and replica.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.cut.deliveries.accepted),
    },
    Family {
        name: "weir_deliveries_due",
        help: "Deliveries that were due: in each scrape the sum of those written, filtered, conflated, dropped, departed and lagging.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.cut.deliveries.due),
    },
    Family {
        name: "weir_connections_expired",
        help: "Streams ended because the subscriber's token had expired; it was told so, with its cursor.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.hub().accounts().expired.get()),
    },
    Family {
        name: "weir_browser_streams_over_http1",
        help: "Event streams that browsers opened over HTTP/1 with no proxy before them: each browser opens six connections at most, for all of its tabs.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.hub().accounts().browsers_over_http1.get()),
    },
    Family {
        name: "weir_auth_refused",
        help: "Requests refused on the public port because of who sent them, by reason.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let mut counts = pipeline.guard().counts().all();
            counts.try_for_each(|(refusal, count)| write(&[("reason", refusal.label())], count))
        },
    },
    Family {
        name: "weir_auth_keys",
        help: "Public keys of the issuer by which tokens can be verified.",
        kind: Kind::Gauge,
        read: |pipeline, write| {
            write(&[], pipeline.guard().keys().map_or(0, |readings| readings.keys))
        },
    },
    Family {
        name: "weir_auth_keys_age_seconds",
        help: "The time since the issuer's keys were read; after 24 hours they are no longer good. Absent where they never were.",
        kind: Kind::Gauge,
        read: |pipeline, write| {
            let age = pipeline.guard().keys().and_then(|read| read.age);
            age.map_or(Ok(()), |age| write(&[], age.as_secs()))
        },
    },
    Family {
        name: "weir_auth_key_readings",
        help: "Readings of the issuer's keys, by result.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let readings = pipeline.guard().keys();
            write(&[("result", "read")], readings.as_ref().map_or(0, |readings| readings.read))?;
            write(&[("result", "failed")], readings.map_or(0, |readings| readings.failed))
        },
    },
    Family {
        name: "weir_deliveries_written",
        help: "Deliveries whose last byte a subscriber's socket took, by transport.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let written = Transport::ALL.into_iter().zip(pipeline.cut.written);
            written.into_iter().try_for_each(|(transport, written)| {
                write(&[("transport", transport.label())], written)
            })
        },
    },
    Family {
        name: "weir_deliveries_filtered",
        help: "Deliveries that the subscriber's filter doesn't match.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.cut.deliveries.filtered),
    },
    Family {
        name: "weir_deliveries_conflated",
        help: "Deliveries for which a newer event of the same key stands.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.cut.deliveries.conflated),
    },
    Family {
        name: "weir_deliveries_dropped",
        help: "Deliveries given up while the subscriber stayed; it was told by a gap, or cut off, with all of the log that it had still to read.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.cut.deliveries.dropped),
    },
    Family {
        name: "weir_deliveries_unjudged",
        help: "Of the deliveries dropped, those whose event left the log before the subscriber's filter was evaluated on it, so that it isn't known whether it matched.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.hub().accounts().unjudged.get()),
    },
    Family {
        name: "weir_deliveries_departed",
        help: "Deliveries given up because the subscriber left; it may resume at its cursor.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.cut.deliveries.departed),
    },
    Family {
        name: "weir_deliveries_lagging",
        help: "Deliveries due and not yet written.",
        kind: Kind::Gauge,
        read: |pipeline, write| write(&[], pipeline.cut.deliveries.lagging),
    },
    Family {
        name: "weir_delivered_bytes",
        help: "Bytes that subscribers' sockets took, framing and heartbeats included.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let shards = pipeline.hub().accounts().shards().iter();
            write(&[], shards.map(|shard| shard.bytes.get()).sum())
        },
    },
    Family {
        name: "weir_gaps",
        help: "Gaps that subscribers were told about, by reason.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let mut counts = pipeline.hub().accounts().gaps.all();
            counts.try_for_each(|(reason, count)| write(&[("reason", reason.name())], count))
        },
    },
    Family {
        name: "weir_reads",
        help: "Pages that were read from the log.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.hub().accounts().reads.get()),
    },
    Family {
        name: "weir_read_events",
        help: "Events in the pages that were read from the log.",
        kind: Kind::Counter,
        read: |pipeline, write| write(&[], pipeline.hub().accounts().read_events.get()),
    },
    Family {
        name: "weir_durable_streams",
        help: "Durable streams that there are.",
        kind: Kind::Gauge,
        read: |pipeline, write| read_streams(pipeline, write, |streams| streams.len() as u64),
    },
    Family {
        name: "weir_durable_streams_bytes",
        help: "Memory that the durable streams take, as endpoints.durableStreams.maxBytes counts it.",
        kind: Kind::Gauge,
        read: |pipeline, write| read_streams(pipeline, write, Streams::bytes),
    },
    Family {
        name: "weir_durable_streams_appends",
        help: "Appends that durable streams have taken.",
        kind: Kind::Counter,
        read: |pipeline, write| read_streams(pipeline, write, |s| s.counts.appends.get()),
    },
    Family {
        name: "weir_durable_streams_read_bytes",
        help: "Bytes that were read from durable streams.",
        kind: Kind::Counter,
        read: |pipeline, write| read_streams(pipeline, write, |s| s.counts.read_bytes.get()),
    },
    Family {
        name: "weir_durable_streams_refused",
        help: "Requests about durable streams that were refused, by reason.",
        kind: Kind::Counter,
        read: |pipeline, write| {
            let mut counts = pipeline.streams().into_iter().flat_map(|s| s.counts.refused.all());
            counts.try_for_each(|(reason, count)| write(&[("reason", reason)], count))
        },
    },
    Family {
        name: "weir_objective_good_events",
        help: "Good events of an objective; its events are deliveries.",
        kind: Kind::Counter,
        read: |pipeline, write| read_meters(pipeline, write, |counts| counts.good),
    },
    Family {
        name: "weir_objective_events",
        help: "All events of an objective.",
        kind: Kind::Counter,
        read: |pipeline, write| read_meters(pipeline, write, |counts| counts.total),
    },
];

fn read_streams(
    pipeline: &Pipeline,
    write: &mut Write<'_>,
    value: fn(&Streams) -> u64,
) -> fmt::Result {
    pipeline.streams().map_or(Ok(()), |streams| write(&[], value(streams)))
}

fn read_meters(
    pipeline: &Pipeline,
    write: &mut Write<'_>,
    value: fn(weir_slo::Counts) -> u64,
) -> fmt::Result {
    pipeline.hub().accounts().meters().iter().try_for_each(|meter| {
        let name = meter.name();
        let labels = [("slo", name.slo.as_str()), ("objective", name.objective.as_str())];
        write(&labels, value(meter.counts()))
    })
}

/// A kind of histogram: its name, its help, and how it is read off a pipeline.
struct Histograms {
    name: &'static str,
    help: &'static str,
    read: fn(&Accounts) -> Buckets,
}

/// How many values are in each bucket, by its upper bound; and their sum.
struct Buckets {
    counts: Vec<(f64, u64)>,
    sum: f64,
}

/// What is shown as histograms, in the order in which it happens to an event.
const HISTOGRAMS: &[Histograms] = &[
    Histograms {
        name: "weir_log_append_seconds",
        help: "The time that publishes waited for the log, be they taken or not.",
        read: |accounts| durations([&accounts.log.appends]),
    },
    Histograms {
        name: "weir_log_sync_seconds",
        help: "The time that the disk took to make sure of what was written to the log; only of logs on a disk.",
        read: |accounts| durations([&accounts.log.syncs]),
    },
    Histograms {
        name: "weir_log_group_events",
        help: "Events that were written to the log as one group; only of logs on a disk.",
        read: |accounts| {
            let (buckets, sum) = accounts.log.groups.read();
            let bounds = SIZES.iter().map(|&bound| float(bound)).chain([f64::INFINITY]);
            Buckets { counts: bounds.zip(buckets).collect(), sum: float(sum) }
        },
    },
    Histograms {
        name: LATENCY,
        help: "The time from an event's acceptance, or the subscriber's later arrival, until the socket took it.",
        read: |accounts| durations(accounts.shards().iter().map(|shard| &shard.latency)),
    },
];

fn durations<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> Buckets {
    let mut reading = HistogramReading::default();
    histograms.into_iter().for_each(|histogram| histogram.merge_into(&mut reading));
    let HistogramReading { buckets, sum_micros } = reading;
    let bounds = BOUNDS_MICROS.iter().map(|&bound| seconds(bound)).chain([f64::INFINITY]);
    Buckets { counts: bounds.zip(buckets).collect(), sum: seconds(sum_micros) }
}

fn seconds(micros: u64) -> f64 {
    float(micros) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "a sum of microseconds is exact for 285 years")]
const fn float(number: u64) -> f64 {
    number as f64
}
