//! Builds the CEL rules that several fields share, each with the sentence that a user reads.
//!
//! The API server puts the field's path before the sentence, so a sentence does not name its field; and it
//! evaluates every rule of a field, so a rule about a value passes a text that is no value at all: the rule
//! about its form refuses that.

use kube::core::Rule;

use crate::scalar::{Duration, Quantity, TimeWindow};

/// A name of lower-case letters, digits and inner hyphens. Its length is bounded by the schema.
pub(crate) fn label() -> Rule {
    Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message(
        "must have 1 to 63 lower-case letters, digits and hyphens, and begin and end with a letter or digit",
    )
}

/// A server's address with a port.
pub(crate) fn host_and_port() -> Rule {
    let form = r"^([-._A-Za-z0-9]+|\\[[.:0-9A-Fa-f]+\\]):[0-9]{1,5}$";
    let port = "int(self.substring(self.lastIndexOf(':') + 1))";
    Rule::new(format!("self.matches('{form}') && {port} >= 1 && {port} <= 65535"))
        .message("must be HOST:PORT, such as redis:6379")
}

/// A duration from `least` to `most`, both as a user would write them.
pub(crate) fn within(least: &str, most: &str) -> Rule {
    let range =
        format!("duration(self) >= duration('{least}') && duration(self) <= duration('{most}')");
    of_duration(&range).message(&*format!("must be from {least} to {most}"))
}

/// What must hold of a duration; the message is still to be given.
pub(crate) fn of_duration(condition: &str) -> Rule {
    Rule::new(format!("!self.matches(r'{}') || ({condition})", Duration::PATTERN))
}

/// A time window of at most so many minutes; the message is still to be given.
pub(crate) fn of_time_window(most_minutes: u32) -> Rule {
    let (pattern, minutes) = (TimeWindow::PATTERN, minutes("self"));
    Rule::new(format!("!self.matches(r'{pattern}') || {minutes} <= {most_minutes}"))
}

/// No objective's time slice is longer than the time window.
pub(crate) fn slices_within_window() -> Rule {
    let (slice, window) = ("o.timeSlice.window", "self.timeWindow.duration");
    let well_formed = format!(
        "{slice}.matches(r'{}') && {window}.matches(r'{}')",
        Duration::PATTERN,
        TimeWindow::PATTERN
    );
    let fits = format!("duration({slice}).getMilliseconds() <= {} * 60000", minutes(window));
    Rule::new(format!("self.objectives.all(o, !has(o.timeSlice) || !({well_formed}) || {fits})"))
        .field_path(".objectives")
        .message("a timeSlice.window must be not longer than the time window: shorten it, or lengthen timeWindow.duration")
}

/// The log can hold the largest event that any source takes.
pub(crate) fn events_fit_into_the_log() -> Rule {
    let (event, log) = ("s.http.maxEventBytes", "self.log.retention.maxBytes");
    let pattern = Quantity::PATTERN;
    let well_formed = format!("{event}.matches(r'{pattern}') && {log}.matches(r'{pattern}')");
    let fits = format!("quantity({log}).compareTo(quantity({event})) >= 0");
    Rule::new(format!("self.sources.all(s, !has(s.http) || !({well_formed}) || {fits})"))
        .field_path(".log.retention.maxBytes")
        .message(
            "must not be less than the largest event that a source takes: raise it, or lower the source's \
             http.maxEventBytes",
        )
}

/// The disk has room for the log.
pub(crate) fn the_disk_has_room_for_the_log() -> Rule {
    let (size, log) = ("self.log.storage.disk.size", "self.log.retention.maxBytes");
    let pattern = Quantity::PATTERN;
    let well_formed = format!("{size}.matches(r'{pattern}') && {log}.matches(r'{pattern}')");
    let least = format!("quantity({size}).compareTo(quantity('16Mi')) >= 0");
    let twice = format!("quantity({size}).compareTo(quantity({log}).add(quantity({log}))) >= 0");
    Rule::new(format!("!has(self.log.storage.disk) || !({well_formed}) || ({least} && {twice})"))
        .field_path(".log.storage.disk.size")
        .message("must be at least 16Mi, and twice retention.maxBytes: raise it, or lower retention.maxBytes")
}

/// Every text of a list is an origin. `item` is the text as the rule names it, or with an exception before it.
pub(crate) fn origins(item: &str) -> Rule {
    Rule::new(format!("self.all(o, {item}.matches('{}'))", crate::validate::ORIGIN)).message(
        "an origin must be scheme and host, and a port where it is not the usual one, such as \
         https://shop.example.org, in lower case and without a path",
    )
}

/// The disk has room for durable streams beside the log.
pub(crate) fn the_disk_has_room_for_streams() -> Rule {
    let (size, log) = ("self.log.storage.disk.size", "self.log.retention.maxBytes");
    let streams = "self.endpoints.durableStreams.maxBytes";
    let pattern = Quantity::PATTERN;
    let well_formed = [size, log, streams].map(|field| format!("{field}.matches(r'{pattern}')"));
    let well_formed = well_formed.join(" && ");
    let both = format!("quantity({log}).add(quantity({log})).add(quantity({streams}))");
    let concerned = "has(self.log.storage.disk) && has(self.endpoints.durableStreams)";
    let fits = format!("quantity({size}).compareTo({both}) >= 0");
    Rule::new(format!("!({concerned}) || !({well_formed}) || {fits}"))
        .field_path(".log.storage.disk.size")
        .message(
            "must be at least twice retention.maxBytes and endpoints.durableStreams.maxBytes besides: raise \
             it, or lower one of these",
        )
}

/// Every key of a map, which `keys` lists, is a label's key.
pub(crate) fn label_keys(keys: &str) -> Rule {
    Rule::new(format!("{keys}.all(k, !format.qualifiedName().validate(k).hasValue())"))
        .message("a key must be a label's key, such as app or app.kubernetes.io/name")
}

/// Every value, which `values` lists, is a label's value.
pub(crate) fn label_values(values: &str) -> Rule {
    Rule::new(format!("{values}.all(v, !format.labelValue().validate(v).hasValue())")).message(
        "a value must be a label's value: at most 63 letters, digits, '-', '_' and '.', beginning and ending \
         with a letter or digit",
    )
}

/// No key of a map is one that the operator sets.
pub(crate) fn foreign_keys() -> Rule {
    let own = r"^([-a-z0-9.]*[.])?(weir[.]dev|app[.]kubernetes[.]io)/";
    Rule::new(format!("self.all(k, !k.matches('{own}'))"))
        .message("a key of weir.dev or app.kubernetes.io is the operator's own: choose another")
}

/// The name of an object, or of something that is named like one.
pub(crate) fn name_of(what: &str) -> Rule {
    Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')")
        .message(&*format!(
            "must be the name of {what}: lower-case letters, digits, hyphens and dots"
        ))
}

/// Every text that `hosts` lists is a host name, or a wildcard for the names below one.
pub(crate) fn hosts(hosts: &str) -> Rule {
    let form = r"^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
    Rule::new(format!("{hosts}.all(h, h.matches('{form}'))"))
        .message("must be a host name in lower case, such as orders.example.org or *.example.org")
}

/// A container may use as much of something as it requests.
pub(crate) fn a_limit_covers_the_request(what: &str, pattern: &str) -> Rule {
    let (limit, request) = (format!("self.limits.{what}"), format!("self.requests.{what}"));
    let given = format!("has(self.limits) && has({limit}) && has(self.requests) && has({request})");
    let well_formed = format!("{limit}.matches(r'{pattern}') && {request}.matches(r'{pattern}')");
    let covers = format!("quantity({limit}).compareTo(quantity({request})) >= 0");
    Rule::new(format!("!({given}) || !({well_formed}) || {covers}"))
        .field_path(&*format!(".limits.{what}"))
        .message(&*format!("must not be less than requests.{what}"))
}

/// What there is of in one replica only asks for no more than one; the field and the message are still to be
/// given.
pub(crate) fn in_one_replica(condition: &str) -> Rule {
    let gateway = "self.placement.gateway";
    let one = format!(
        "{gateway}.replicas <= 1 && (!has({gateway}.autoscaling) || {gateway}.autoscaling.maxReplicas <= 1)"
    );
    Rule::new(format!("!({condition}) || !has({gateway}) || ({one})"))
}

/// The data plane's memory has room for itself and, where the log is in memory, for the log. `placement` is
/// gateway or sidecar.
pub(crate) fn memory_has_room_for_the_log(placement: &str) -> Rule {
    let (placed, log) = (format!("self.placement.{placement}"), "self.log.retention.maxBytes");
    let limits = format!("{placed}.resources.limits");
    let limit = format!("{limits}.memory");
    let given =
        format!("has({placed}) && has({placed}.resources) && has({limits}) && has({limit})");
    let pattern = Quantity::PATTERN;
    let well_formed = format!("{limit}.matches(r'{pattern}') && {log}.matches(r'{pattern}')");
    let least = "quantity('64Mi')";
    let least = format!("(has(self.log.storage.memory) ? {least}.add(quantity({log})) : {least})");
    let fits = format!("quantity({limit}).compareTo({least}) >= 0");
    Rule::new(format!("!({given}) || !({well_formed}) || {fits}"))
        .field_path(&*format!(".placement.{placement}.resources.limits.memory"))
        .message(
            "must be at least 64Mi and, where the log is in memory, log.retention.maxBytes besides: raise it, \
             or lower log.retention.maxBytes",
        )
}

/// An expression for the minutes of the well-formed time window `window`.
pub(crate) fn minutes(window: &str) -> String {
    let unit = |suffix: &str| format!("{window}.endsWith('{suffix}')");
    let (weeks, days, hours) = (unit("w"), unit("d"), unit("h"));
    format!(
        "int({window}.substring(0, {window}.size() - 1)) * ({weeks} ? 10080 : {days} ? 1440 : {hours} ? 60 : 1)"
    )
}
