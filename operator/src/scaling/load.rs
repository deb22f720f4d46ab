//! What the replicas have to do, and how many there would have to be for it.

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Subscribers.
    Connections,
    /// Deliveries that wait to be written.
    Lag,
}

impl Metric {
    /// The target's field.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Connections => "connectionsPerReplica",
            Self::Lag => "lagPerReplica",
        }
    }
}

/// What the replicas have to do, beside what each is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// What is counted.
    pub metric: Metric,
    /// What a replica is to have on average; more than 0.
    pub target: u64,
    /// What each replica has that said so.
    pub values: Vec<u64>,
    /// How many replicas could not be asked.
    pub missing: u64,
}

/// How many replicas a load asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recommendation {
    pub(super) replicas: i32,
    /// The metric that decided, and its load in percent of the target; none where one that is not known
    /// kept replicas from being taken away.
    pub(super) by: Option<(Metric, u64)>,
}

/// By how many hundredths a load may differ from its target before anything is done.
const TOLERANCE: u128 = 10;

/// What all loads together ask for: the most. `None` where none is known.
pub(super) fn recommend(current: i32, loads: &[Load]) -> Option<Recommendation> {
    let known = loads
        .iter()
        .filter_map(|load| Some((load.replicas(current)?, load.metric, load.percent()?)));
    let (replicas, metric, percent) =
        known.max_by_key(|(replicas, _, percent)| (*replicas, *percent))?;
    let all_known = loads.iter().all(|load| !load.values.is_empty());
    // A load that is not known might be a high one.
    let replicas = if all_known { replicas } else { replicas.max(current) };
    Some(Recommendation { replicas, by: Some((metric, percent)) })
}

impl Load {
    /// What the replicas have on average, in percent of the target.
    fn percent(&self) -> Option<u64> {
        let total = u128::from(self.target).checked_mul(self.values.len() as u128)?;
        let percent = (self.sum() * 100).checked_div(total)?;
        Some(u64::try_from(percent).unwrap_or(u64::MAX))
    }

    fn sum(&self) -> u128 {
        self.values.iter().copied().map(u128::from).sum()
    }

    /// How many replicas it asks for, where there are `current`. What replicas have that could not be asked is
    /// taken to be what moves the number least: nothing where it would grow, the target where it would shrink.
    fn replicas(&self, current: i32) -> Option<i32> {
        let asked = self.values.len() as u128;
        let target = u128::from(self.target);
        if asked == 0 || target == 0 {
            return None;
        }
        let grows = self.sum() > target * asked;
        if within_tolerance(self.sum(), target * asked) && self.missing == 0 {
            return Some(current);
        }
        let missing = u128::from(self.missing);
        let sum = if grows { self.sum() } else { self.sum() + missing * target };
        let replicas = asked + missing;
        let still_grows = sum > target * replicas;
        if within_tolerance(sum, target * replicas) || still_grows != grows {
            return Some(current);
        }
        let wanted = i32::try_from(sum.div_ceil(target)).unwrap_or(i32::MAX);
        // What was asked may be more replicas, or fewer, than there are to be at the moment.
        Some(if grows { wanted.max(current) } else { wanted.min(current) })
    }
}

fn within_tolerance(sum: u128, wanted: u128) -> bool {
    sum.abs_diff(wanted) * 100 <= wanted * TOLERANCE
}
